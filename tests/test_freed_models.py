"""A model that nobody holds any more is freed, with its buffer: a search trains hundreds of them in one process."""

import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from cpc_rl import AugmentationCallback, ContrastiveCallback, NatureExtractor
from tests.algorithms import ALGORITHMS, CONTINUOUS, make_model, steps

AUGMENTED = {"features_extractor_class": NatureExtractor, "features_extractor_kwargs": {"augment": "random_shift"}}
CHOICES: dict[str, dict[str, Any]] = {
    "joint": {},
    "own passes": {"share_passes": False},
    "separate": {"gradient": "separate"},
    "maps": {"objective": "stdim"},
}


def is_freed(name: str, make_callback: Callable[[], BaseCallback | None], **keywords: Any) -> bool:
    """Whether nothing keeps a model, its environments and its buffer once its training is over and everyone has let go."""
    model = make_model(name, **keywords)
    try:
        model.learn(steps(name), callback=make_callback())
    except FloatingPointError:
        pass
    buffer = getattr(model, "replay_buffer", None) or model.rollout_buffer  # type: ignore[attr-defined]
    held = [weakref.ref(thing) for thing in (model, model.policy, model.env, buffer)]
    del model, buffer
    gc.collect()
    return all(reference() is None for reference in held)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_plain_model_is_freed(name: str) -> None:
    assert is_freed(name, lambda: None)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_model_with_a_head_is_freed(name: str, choice: str) -> None:
    assert is_freed(name, partial(ContrastiveCallback, **CHOICES[choice]))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_model_whose_encoders_are_tied_is_freed(name: str) -> None:
    assert is_freed(name, partial(ContrastiveCallback, "curl", encoder="tied"))


@pytest.mark.parametrize("name", ("PPO", "A2C", "SAC", "DQN"))
def test_a_model_with_augmentation_is_freed(name: str) -> None:
    assert is_freed(name, AugmentationCallback, policy_kwargs=AUGMENTED)


@pytest.mark.parametrize("name", ("PPO", "A2C", "SAC", "DQN"))
@pytest.mark.parametrize("augmented", (False, True))
def test_a_model_whose_update_was_interrupted_is_freed(name: str, augmented: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise FloatingPointError("in the middle of an update")

    monkeypatch.setattr(torch.optim.Adam, "step", fail)
    monkeypatch.setattr(torch.optim.RMSprop, "step", fail)
    make_callback = AugmentationCallback if augmented else ContrastiveCallback
    assert is_freed(name, make_callback, **({"policy_kwargs": AUGMENTED} if augmented else {}))
