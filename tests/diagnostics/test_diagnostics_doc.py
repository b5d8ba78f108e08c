"""docs/diagnostics.md keeps to the code."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN

from cpc_rl.diagnostics import watch
from cpc_rl.diagnostics.gradient_map import gradient_map
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.representation import dormant_units
from cpc_rl.encoder import IMAGE, Encoder

TEXT = (Path(__file__).parents[2] / "docs" / "diagnostics.md").read_text(encoding="utf-8")


def test_defaults_and_thresholds_are_the_codes():
    defaults = {name: p.default for name, p in inspect.signature(probe).parameters.items()}
    assert f"| `standardise` | `{defaults['standardise']}` |" in TEXT
    training = ("epochs", "patience", "learning_rate", "batch_size")
    told = re.search(r"`epochs`, `patience`, `learning_rate`, `batch_size` \| ([^|]+) \|", TEXT)[1]
    assert [float(number) for number in told.split(",")] == [defaults[name] for name in training]
    assert f"below {watch.COLLAPSED_RANK} three" in TEXT and watch.COLLAPSED_FLUSHES == 3
    assert f"{watch.CHANCE} / K in {watch.CHANCE_FLUSHES} entries" in TEXT
    assert f"{inspect.signature(dormant_units).parameters['threshold'].default} of the average" in TEXT


def test_every_function_that_it_lists_is_there():
    table = TEXT.rpartition("| in `cpc_rl.diagnostics` | |")[2]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    names = {name for _, names in rows for name in re.findall(r"`(\w+)`", names)} - {"pretrain"}
    modules = [importlib.import_module(f"cpc_rl.diagnostics.{m}") for ms, _ in rows for m in re.findall(r"`(\w+)`", ms)]
    assert len(names) > 15 and not [name for name in names if not any(hasattr(module, name) for module in modules)]


@pytest.mark.parametrize("side", [48, 64])
def test_nature_cnn_never_reads_the_last_four_pixels(side):
    torch.manual_seed(0)
    space = spaces.Box(0, 255, (1, side, side), np.uint8)
    images = torch.randint(0, 256, (8, 1, side, side), dtype=torch.uint8)
    seen = gradient_map(Encoder({IMAGE: NatureCNN(space, 64)}, space), images)[IMAGE].sum(0)
    assert (seen[-4:] == 0).all() and (seen[:, -4:] == 0).all() and (seen[:-4, :-4] > 0).all()
