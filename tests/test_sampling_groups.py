"""Batches with several windows of one trajectory: for any sizes and ends, true windows in whole groups."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpc_rl.sampling import ReplayWindows, RolloutWindows
from tests.test_sampling_replay import KINDS, expected_windows, write
from tests.test_sampling_replay import make_buffer as make_replay_buffer
from tests.test_sampling_rollout import Collector
from tests.test_sampling_rollout import make_buffer as make_rollout_buffer
from tests.window_checks import ACTIONS, Episodes, Expected, check

Source = ReplayWindows | RolloutWindows


def replay(kind: str, size: int, n_envs: int, end: float, n_writes: int, seed: int) -> tuple[Source, Any, Episodes]:
    buffer, episodes = make_replay_buffer(kind, size, n_envs), Episodes(n_envs, seed, end)
    source = ReplayWindows(buffer, ACTIONS)
    for _ in range(n_writes):
        source.note_step()
        write(buffer, episodes)
    return source, buffer, episodes


def check_groups(source: Source, expected: Expected, horizon: int, per_trajectory: int, generator: torch.Generator) -> None:
    """Every batch size from one to all: true windows, as many, and every trajectory gives whole groups or all that it has."""
    available = Counter(place.trajectory for place in expected.values())
    assert source.sample(len(expected) + 1, horizon, generator, per_trajectory=per_trajectory) is None
    for batch_size in {1, len(expected) // 3, len(expected) // 2, len(expected)} - {0} if expected else ():
        windows = source.sample(batch_size, horizon, generator, per_trajectory=per_trajectory)
        assert windows is not None and len(windows.mask) == batch_size
        starts = check(windows, expected, horizon)
        drawn = [expected[start].trajectory for start in starts]
        runs = [trajectory for trajectory, _ in itertools.groupby(drawn)]
        assert len(runs) == len(set(runs))
        cut = [t for t, n in Counter(drawn).items() if n != available[t] and n % per_trajectory != 0]
        assert len(cut) <= 1


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(2, 30),
    n_envs=st.integers(1, 3),
    end=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    n_writes=st.integers(0, 70),
    horizon=st.integers(0, 4),
    per_trajectory=st.integers(2, 9),
    seed=st.integers(0, 1000),
)
def test_groups_from_replay_buffers(
    kind: str, size: int, n_envs: int, end: float, n_writes: int, horizon: int, per_trajectory: int, seed: int
) -> None:
    source, buffer, episodes = replay(kind, size, n_envs, end, n_writes, seed)
    expected = expected_windows(buffer, episodes, horizon)
    check_groups(source, expected, horizon, per_trajectory, torch.Generator().manual_seed(seed))


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(1, 9),
    n_envs=st.integers(1, 3),
    capacity=st.integers(1, 60),
    end=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    events=st.lists(st.sampled_from(["rollout"] * 5 + ["reset", "go on"]), max_size=9),
    horizon=st.integers(0, 4),
    per_trajectory=st.integers(2, 9),
    seed=st.integers(0, 1000),
)
def test_groups_from_rollouts(
    length: int, n_envs: int, capacity: int, end: float, events: list[str], horizon: int, per_trajectory: int, seed: int
) -> None:
    buffer, episodes = make_rollout_buffer("plain", length, n_envs), Episodes(n_envs, seed, end)
    source, collector = RolloutWindows(ACTIONS, capacity), Collector(buffer, episodes)
    n_kept = length * -(-capacity // (length * n_envs))
    for event in [*events, "rollout"]:
        if event == "rollout":
            collector.collect(length)
            source.add(buffer)
        elif event == "reset":
            collector.reset()
            source.mark_seam(reset=True)
        else:
            episodes.seam(stale=True)
            source.mark_seam()
    expected = episodes.windows(n_kept, horizon, False, False)
    check_groups(source, expected, horizon, per_trajectory, torch.Generator().manual_seed(seed))


def test_groups_use_the_given_generator_alone() -> None:
    source, _, _ = replay("dict", 40, 2, 0.1, 50, 0)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first, second, third = (
        source.sample(8, 2, torch.Generator().manual_seed(seed), keys=("vector",), per_trajectory=4) for seed in (1, 1, 2)
    )
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    assert torch.equal(first.observations["vector"], second.observations["vector"])
    assert not torch.equal(first.observations["vector"], third.observations["vector"])


def test_a_group_holds_at_least_one_window() -> None:
    source, _, _ = replay("plain", 10, 1, 0.1, 10, 0)
    with pytest.raises(ValueError, match="per_trajectory must be at least 1 window, but it is 0"):
        source.sample(4, 1, torch.Generator(), per_trajectory=0)
