"""On a GPU each read of a tensor's value waits for all that was queued. What a head adds to the algorithm's own reads."""

from typing import Any

import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.utils._python_dispatch import TorchDispatchMode

from cpc_rl import ContrastiveCallback
from cpc_rl.monitor import Monitors
from cpc_rl.objectives.curl import CURL
from tests.algorithms import ALGORITHMS, make_model, steps

READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "repeat_interleave")
ONCE = 3  # looks at the buffers' kinds and the like, at the beginning


class CountReads(TorchDispatchMode):
    """Counts operations whose result, or its size, a device must have before the program goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.of_the_log = False

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        self.count += not self.of_the_log and (name in READS or by_mask)
        return function(*args, **(kwargs or {}))


def reads(model: BaseAlgorithm, callback: ContrastiveCallback | None) -> int:
    """During a ``learn()``, but for what is written to the log, every hundred steps and at the end."""
    flush = Monitors.flush
    with CountReads() as counted, pytest.MonkeyPatch.context() as patch:

        def uncounted(*args: Any) -> None:
            counted.of_the_log = True
            flush(*args)
            counted.of_the_log = False

        patch.setattr(Monitors, "flush", uncounted)
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
def test_at_most_two_reads_an_update(name: str, objective: str) -> None:
    added, updates = added_reads(name, objective)
    assert updates > 0
    assert added <= 2 * updates + ONCE  # whether the online network's pass, and the target's, is of the minibatch


@pytest.mark.parametrize("name", ["PPO", "DQN", "A2C", "SAC"])
def test_one_more_read_a_step_is_seen(name: str) -> None:
    class Reading(CURL):
        def forward(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss, metrics = super().forward(*args, **kwargs)
            assert float(loss.detach()) > 0
            return loss, metrics

    once, updates = added_reads(name, CURL)
    twice, _ = added_reads(name, Reading)
    assert twice == once + updates
