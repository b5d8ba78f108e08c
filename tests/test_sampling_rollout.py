"""Windows from rollout buffers: within a rollout, from one to the next, and never across a reset or a lost step."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from cpc_rl.sampling import RolloutWindows
from tests.window_checks import ACTIONS, DICT, IMAGE, Episodes, check_draws

KINDS: dict[str, type[RolloutBuffer]] = {
    "plain": RolloutBuffer,
    "dict": DictRolloutBuffer,
    "maskable": MaskableRolloutBuffer,
    "maskable dict": MaskableDictRolloutBuffer,
    "recurrent": RecurrentRolloutBuffer,
    "recurrent dict": RecurrentDictRolloutBuffer,
}


def make_buffer(kind: str, length: int, n_envs: int) -> RolloutBuffer:
    space = DICT if "dict" in kind else IMAGE
    states = [(length, 1, n_envs, 2)] if "recurrent" in kind else []
    return KINDS[kind](length, space, ACTIONS, *states, device="cpu", n_envs=n_envs)  # type: ignore[arg-type]


class Collector:
    """What an on-policy algorithm does with its buffer."""

    def __init__(self, buffer: RolloutBuffer, episodes: Episodes):
        self.buffer, self.episodes = buffer, episodes
        self.starts = np.ones(buffer.n_envs, dtype=bool)

    def collect(self, n_steps: int) -> None:
        buffer, n_envs = self.buffer, self.buffer.n_envs
        buffer.reset()
        for _ in range(n_steps):
            observation, _, action, reward, done = self.episodes.play(isinstance(buffer, DictRolloutBuffer))
            arguments: dict[str, Any] = {}
            if isinstance(buffer, RecurrentRolloutBuffer | RecurrentDictRolloutBuffer):
                state = (torch.zeros(1, n_envs, 2), torch.zeros(1, n_envs, 2))
                arguments = {"lstm_states": RNNStates(state, state)}
            buffer.add(observation, action, reward, self.starts, torch.zeros(n_envs), torch.zeros(n_envs), **arguments)
            self.starts = done

    def train(self) -> None:
        """Flattens the buffer's arrays."""
        for _ in self.buffer.get(batch_size=None):
            pass

    def reset(self) -> None:
        self.episodes.reset()
        self.starts[:] = True


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    length=st.integers(1, 8),
    n_envs=st.integers(1, 3),
    capacity=st.integers(1, 40),
    end=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    events=st.lists(st.sampled_from(["rollout"] * 4 + ["reset", "go on", "interrupt"]), max_size=12),
    horizon=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_every_frame_is_in_its_place(
    kind: str, length: int, n_envs: int, capacity: int, end: float, events: list[str], horizon: int, seed: int
) -> None:
    buffer, episodes = make_buffer(kind, length, n_envs), Episodes(n_envs, seed, end)
    source, collector = RolloutWindows(ACTIONS, capacity), Collector(buffer, episodes)
    generator = torch.Generator().manual_seed(seed)
    n_kept = length * -(-capacity // (length * n_envs))
    for event in ["rollout", *events]:
        if event == "rollout":
            collector.collect(length)
            source.add(buffer)
            check_draws(source, episodes.windows(n_kept, horizon, False, False), horizon, generator)
            collector.train()
            check_draws(source, episodes.windows(n_kept, horizon, False, False), horizon, generator)
        elif event == "reset":
            collector.reset()
            source.mark_seam(reset=True)
        elif event == "go on":
            episodes.seam(stale=True)
            source.mark_seam()
        else:
            # Part of a rollout is collected and lost, and after it a step that SB3 does not even see
            if length > 1:
                collector.collect(length - 1)
                for rows in episodes.rows:
                    del rows[-(length - 1) :]
            episodes.interrupt()
            source.mark_seam()


def test_a_reset_shows_in_the_rollout_itself() -> None:
    buffer, episodes = make_buffer("plain", 4, 2), Episodes(2, 0, 0.0)
    source, collector = RolloutWindows(ACTIONS, capacity=16), Collector(buffer, episodes)
    for _ in range(2):
        collector.collect(4)
        source.add(buffer)
        collector.reset()
    check_draws(source, episodes.windows(8, 3, False, False), 3, torch.Generator())


def test_another_rollout_length_starts_anew() -> None:
    source = RolloutWindows(ACTIONS, capacity=12)
    for length in (4, 3):
        buffer, episodes = make_buffer("plain", length, 2), Episodes(2, 0, 0.2)
        Collector(buffer, episodes).collect(length)
        source.add(buffer)
        check_draws(source, episodes.windows(length, 2, False, False), 2, torch.Generator())


def test_a_rollout_that_is_not_whole_or_was_flattened_is_refused() -> None:
    buffer, source = make_buffer("plain", 4, 2), RolloutWindows(ACTIONS)
    collector = Collector(buffer, Episodes(2, 0, 0.0))
    collector.collect(3)
    with pytest.raises(ValueError, match="when it is full"):
        source.add(buffer)
    collector.collect(4)
    collector.train()
    with pytest.raises(ValueError, match="before get"):
        source.add(buffer)
    assert source.sample(1, 0, torch.Generator()) is None


def test_a_large_rollout_is_not_copied() -> None:
    buffer, source = make_buffer("plain", 8, 2), RolloutWindows(ACTIONS, capacity=16)
    Collector(buffer, Episodes(2, 0, 0.2)).collect(8)
    source.add(buffer)
    assert source._arrays["observations"] is buffer.observations
