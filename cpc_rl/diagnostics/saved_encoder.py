"""An encoder made again from the file that :func:`cpc_rl.save_encoder` or a pre-training wrote, without a model."""

import importlib
import json
import os
import re

import numpy as np
from gymnasium import spaces
from safetensors import SafetensorError, safe_open

from cpc_rl.attachment import make_encoder
from cpc_rl.encoder import Encoder
from cpc_rl.file_errors import refuse_folder


def read_encoder(file: str | os.PathLike) -> Encoder:
    """
    Rebuild an encoder of image observations from a file of :func:`cpc_rl.save_encoder`, on the CPU.

    :raises ValueError: if it cannot be read, its class cannot be imported, or it reads a Dict space
    """
    refuse_folder(file, "an encoder's file, such as the encoder.safetensors in one,")
    try:
        with safe_open(os.fspath(file), framework="pt") as opened:
            told = json.loads((opened.metadata() or {})["cpc_rl"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{file} is not a file of cpc_rl.save_encoder: {error}.") from error
    shape = re.fullmatch(r"Box\(.*\((\d+), (\d+), (\d+)\), uint8\)", told["observation_space"])
    if shape is None:
        raise ValueError(f"{file} reads {told['observation_space']}; without its model only uint8 images can be looked at.")
    space = spaces.Box(0, 255, tuple(map(int, shape.groups())), np.uint8)
    module, _, name = told["class"].rpartition(".")
    try:
        extractor = getattr(importlib.import_module(module), name)(space, **told["keywords"])
        extractor.load_state_dict(tensors)
    except (ImportError, AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(f"The extractor {told['class']} of {file} cannot be made again: {error}.") from error
    return make_encoder(extractor.eval(), space, told["normalize_images"])
