"""On a GPU each read of a tensor's value waits for all that was queued. What a head adds to the algorithm's own reads."""

from typing import Any

import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.utils._python_dispatch import TorchDispatchMode

from cpc_rl import ContrastiveCallback
from cpc_rl.objectives.curl import CURL
from tests.algorithms import ALGORITHMS, make_model, steps

READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "repeat_interleave")
FLUSHES = 40  # reads for the log, at the end of a learn(), of one head


class CountReads(TorchDispatchMode):
    """Counts operations whose result, or its size, a device must have before the program goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        self.count += name in READS or by_mask
        return function(*args, **(kwargs or {}))


def reads(model: BaseAlgorithm, callback: ContrastiveCallback | None) -> int:
    with CountReads() as counted:
        model.learn(steps(type(model).__name__), callback=callback)
    return counted.count


def added_reads(name: str, objective: Any) -> tuple[int, int]:
    """:return: the reads that a head added, and the updates in which it stepped"""
    plain = reads(make_model(name), None)
    callback = ContrastiveCallback(objective, batch_size=4)
    added = reads(make_model(name), callback) - plain
    return added, sum(injection.updates for injection in callback._injections)


@pytest.mark.parametrize(
    ("name", "objective"),
    [(name, "cpc") for name in ALGORITHMS if name != "TRPO"]
    + [(name, objective) for name in ("PPO", "DQN", "SAC") for objective in ("curl", "spr", "stdim", "taco", "moco")],
)
def test_at_most_one_read_an_update(name: str, objective: str) -> None:
    added, updates = added_reads(name, objective)
    assert updates > 0
    assert added <= updates + FLUSHES


def test_reads_are_seen() -> None:
    class Reading(CURL):
        def forward(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss, metrics = super().forward(*args, **kwargs)
            assert sum(float(loss.detach()) for _ in range(FLUSHES)) != 0
            return loss, metrics

    added, updates = added_reads("DQN", Reading)
    assert added > updates + FLUSHES
