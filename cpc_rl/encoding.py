"""Features of a trained model: computed, written to a safetensors file and read from one."""

import itertools
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn

from cpc_rl.attachment import Site, choose_sites, find_sites, target_extractors
from cpc_rl.encoder import probing
from cpc_rl.file_errors import refuse_folder
from cpc_rl.transfer import Train, TransferCallback
from cpc_rl.whole_file import whole_file

FORMAT = "cpc_rl.encoder.1"
IMAGE_BOX = re.compile(r"Box\((-?[\w.]+), (-?[\w.]+), \(\d+, \d+, \d+\), (\w+)\)")  # a space's text: lowest, highest, dtype


@torch.no_grad()
def encode(model: BaseAlgorithm, observations: Any) -> Tensor:
    """
    Features of raw observations, by the encoder that a head trains (the critic's where there are two).

    :param model: any model with a trained features extractor
    :param observations: raw observations as the model's env gives them, one ``(*obs)`` or a batch ``(N, *obs)``
        (dict of such for Dict spaces); channel order is mended as ``model.predict`` does
    :return: features ``(N, features_dim)``, on the model's device
    :raises ValueError: if the model has no features extractor with parameters
    """
    encoder = _site(model).encoder
    tensors, _ = model.policy.obs_to_tensor(observations)
    with probing(encoder):
        return encoder(tensors)


def save_encoder(model: BaseAlgorithm, file: str | os.PathLike) -> Path:
    """
    Write the encoder that a head trains (the critic's where there are two) to a safetensors file.

    The file is written whole or not at all. Its metadata is a JSON with the extractor's class and keywords, the
    observation space and whether images are divided by 255.

    :param model: any model with a trained features extractor
    :param file: where to; an existing file is replaced
    :return: the path written
    """
    site, policy = _site(model), model.policy
    return write_encoder(
        site.extractor,
        file,
        keywords=policy.features_extractor_kwargs,
        observation_space=policy.observation_space,
        normalize_images=bool(policy.normalize_images),
        vec_normalize=_vec_normalize(model),
    )


def write_encoder(
    extractor: nn.Module,
    file: str | os.PathLike,
    *,
    keywords: Mapping[str, Any],
    observation_space: spaces.Space,
    normalize_images: bool = True,
    vec_normalize: bool | None = False,
) -> Path:
    """
    As :func:`save_encoder`, of a features extractor that belongs to no model.

    :param extractor: with ``features_dim``
    :param file: where to; an existing file is replaced
    :param keywords: that the extractor was made with, besides the space
    :param observation_space: of its raw observations, channels first
    :param normalize_images: whether uint8 images are divided by 255 before they get to it
    :param vec_normalize: whether ``VecNormalize`` normalised its images before that; ``None`` if that is not known
    :return: the path written
    """
    file = Path(file)
    description = {
        "format": FORMAT,
        "class": f"{type(extractor).__module__}.{type(extractor).__qualname__}",
        "keywords": dict(keywords),
        "features_dim": extractor.features_dim,
        "observation_space": str(observation_space),
        "normalize_images": normalize_images,
        "vec_normalize": vec_normalize,
    }
    # Copies, for extractors of two entries may be one module, and a file holds no tensor under two names.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in extractor.state_dict().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        save_file(tensors, temporary, metadata={"cpc_rl": json.dumps(description, default=repr)})
        os.chmod(temporary, 0o644)
    return file


def load_encoder(
    model: BaseAlgorithm,
    file: str | os.PathLike,
    train: Train = "fine-tune",
    unfreeze_at: int | None = None,
    lr_scale: float = 1.0,
) -> TransferCallback:
    """
    Put the weights of a file written by :func:`save_encoder` into every features extractor of the model: actor's,
    critic's and target networks'. Nothing is changed unless all of it fits. What the optimisers know of the old weights
    (Adam's moments) is forgotten.

    What happens to the encoder from then on is done by the callback that is returned: with ``train="frozen"``,
    ``unfreeze_at`` or ``lr_scale`` pass it to ``learn(callback=...)``, in a list with others if there are any. Without these
    it has nothing to do.

    :param model: of any of SB3's and sb3-contrib's algorithms with an optimiser
    :param file: of any model or environment whose extractor has layers of the same names and shapes
    :param train: ``"fine-tune"`` or ``"frozen"``
    :param unfreeze_at: see :class:`cpc_rl.TransferCallback`
    :param lr_scale: see :class:`cpc_rl.TransferCallback`
    :return: the callback
    :raises ValueError: if the file cannot be read, or a layer does not fit, naming it and both shapes; if its encoder reads
        pixels of 0 to 1 and the model's of 0 to 255, or the other way round (where its metadata tell); if a setting makes no
        sense
    """
    callback = TransferCallback(train, unfreeze_at, lr_scale)
    _load_weights(model, file)
    callback.expect_learn()
    return callback


def _load_weights(model: BaseAlgorithm, file: str | os.PathLike) -> None:
    refuse_folder(file, "an encoder's file, such as the encoder.safetensors in one,")
    try:
        with safe_open(os.fspath(file), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            told = json.loads((opened.metadata() or {}).get("cpc_rl", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{os.fspath(file)} is not a readable safetensors file: {error}.") from error
    _check_pixels(model, file, told)
    sites = find_sites(model)
    extractors = [site.extractor for site in sites] + target_extractors(model)
    for extractor in extractors:
        own = extractor.state_dict()
        for name in sorted(own.keys() | tensors.keys()):
            mine, theirs = (tuple(side[name].shape) if name in side else None for side in (own, tensors))
            if mine != theirs:
                raise ValueError(
                    f"The encoder in {os.fspath(file)} does not fit this model: layer '{name}' is {theirs or 'absent'} in the "
                    f"file and {mine or 'absent'} in the model's {type(extractor).__name__}."
                )
    for extractor in extractors:
        extractor.load_state_dict(tensors)
    for site in sites:
        for optimizer, parameter in itertools.product(site.optimizers, site.extractor.parameters()):
            optimizer.state.pop(parameter, None)


def _check_pixels(model: BaseAlgorithm, file: str | os.PathLike, told: Mapping[str, Any]) -> None:
    """Weights trained on pixels of 0 to 1 fit those of 0 to 255 by shape, and give features hundreds of times too large."""
    normalized = told.get("vec_normalize"), _vec_normalize(model)
    if None not in normalized and normalized[0] != normalized[1]:
        seen = ["as VecNormalize leaves them" if value else "as they are" for value in normalized]
        warnings.warn(
            f"The encoder in {os.fspath(file)} was trained on images {seen[0]}, but this model sees them {seen[1]}, so that "
            "its features may be of no use: VecNormalize leaves images alone with norm_obs=False, or, of Dict observations, "
            "with norm_obs_keys.",
            stacklevel=4,
        )
    theirs = _brightest(told.get("observation_space", ""), told.get("normalize_images", True))
    mine = _brightest(str(model.policy.observation_space), model.policy.normalize_images)
    if theirs is not None and mine is not None and theirs != mine:
        raise ValueError(
            f"The encoder in {os.fspath(file)} was trained on pixels of 0 to {theirs}, but this model's extractor gets 0 to "
            f"{mine} (normalize_images={model.policy.normalize_images}): make the model with "
            f"policy_kwargs=dict(normalize_images={not model.policy.normalize_images}) if its images are uint8, or take an "
            "encoder that was trained on such pixels."
        )


def _vec_normalize(model: BaseAlgorithm) -> bool | None:
    """Whether ``VecNormalize`` normalises any image that the encoder reads; ``None`` for a model without an environment."""
    if model.get_env() is None:
        return None
    wrapper, keys = model.get_vec_normalize_env(), _site(model).encoder.keys
    if wrapper is None or not wrapper.norm_obs:
        return False
    return keys is None or wrapper.norm_obs_keys is None or any(key in wrapper.norm_obs_keys for key in keys)


def _brightest(space: str, normalize_images: bool) -> int | None:
    """
    The largest value of a pixel that reaches the extractor, 1 or 255; ``None`` where the space does not tell.

    :param space: the text of the raw observations' space
    """
    found: set[int | None] = set()
    for low, high, dtype in IMAGE_BOX.findall(space):
        bounds = float(low), float(high)
        if bounds == (0, 255):
            found.add(1 if dtype == "uint8" and normalize_images else 255)
        else:
            found.add(1 if bounds == (0, 1) and dtype != "uint8" else None)
    return found.pop() if len(found) == 1 else None


def _site(model: BaseAlgorithm) -> Site:
    return choose_sites(find_sites(model), "critic")[0]
