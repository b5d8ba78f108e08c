"""How groups of starts are drawn: found whole, with the right probabilities, cheaply, and as ever where there are none."""

import itertools
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from cpc_rl.grouping import draw_groups, draw_subsets, find_extent
from cpc_rl.trajectories import TrajectoryRing
from tests.test_sampling import filled


def labelled(lengths: list[list[int]], size: int) -> TrajectoryRing:
    """A ring that was written round and round: each environment's trajectories have these lengths, one after another."""
    ring = TrajectoryRing(size, len(lengths))
    starts = np.zeros((sum(lengths[0]), len(lengths)), dtype=bool)
    for env, env_lengths in enumerate(lengths):
        starts[np.cumsum([0, *env_lengths[:-1]]), env] = True
    for row, labels in enumerate(zip(*ring.label(starts), strict=True)):
        ring.episode[row % size], ring.step[row % size] = labels
    return ring


def one_by_one(ring: TrajectoryRing, start: int, env: int, lag: int, oldest: int, n_slots: int) -> tuple[int, int]:
    """Walk from a start in both directions, as far as starts of the same trajectory go."""
    size = len(ring.episode)
    live = {(oldest + i) % size for i in range(n_slots)}
    walked = []
    for direction in (-1, 1):
        distance = 0
        while True:
            k = direction * (distance + 1)
            here, there = (start + k) % size, (start + k + 1 - lag) % size
            labels = [(ring.episode[slot, env], ring.step[slot, env]) for slot in (start, here, there)]
            (episode, step), after = labels[0], 1 - lag
            if here not in live or labels[1] != (episode, step + k) or labels[2] != (episode, step + k + after):
                break
            distance += 1
        walked.append(distance)
    return walked[0], walked[1]


@pytest.mark.parametrize("lag", [0, 1])
def test_a_trajectory_is_found_whole_across_the_end_of_the_ring(lag: int) -> None:
    rng = np.random.default_rng(0)
    for size, lengths in ((700, [1, 400, 3, 300, 2, 90, 4]), (700, [800]), (900, [200, 1, 1, 300]), (700, [699, 1, 1, 300])):
        total = sum(lengths)
        ring = labelled([lengths, lengths[::-1]], size)
        oldest, n_slots = (total % size, size) if total > size else (0, total)
        start = (oldest + rng.integers(0, n_slots - 1, 40)) % size
        env = rng.integers(0, 2, 40)
        valid = ring.is_start(start, env, 1, lag)
        start, env = start[valid], env[valid]
        before, after = find_extent(ring, start, env, 1, lag, oldest, n_slots)
        walked = [one_by_one(ring, int(s), int(e), lag, oldest, n_slots) for s, e in zip(start, env, strict=True)]
        assert list(zip(before.tolist(), after.tolist(), strict=True)) == walked


def drawn_before(
    ring: TrajectoryRing, batch_size: int, horizon: int, lag: int, oldest: int, n_slots: int, generator: torch.Generator
) -> tuple[Any, Any] | None:
    """How starts were drawn when there were no groups."""
    size, n_envs = ring.episode.shape
    total = n_slots * n_envs

    def valid(numbers: Any) -> list[int]:
        start, env = (oldest + numbers // n_envs) % size, numbers % n_envs
        return numbers[ring.mask(start, env, min(horizon, 1), lag)[:, -1]].tolist()

    if total < batch_size:
        return None
    chosen = None
    for _ in range(3 if total > 4 * batch_size else 0):
        distinct = list(dict.fromkeys(valid(torch.randint(total, (2 * batch_size + 8,), generator=generator).numpy())))
        if len(distinct) >= batch_size:
            chosen = np.array(distinct[:batch_size])
            break
    if chosen is None:
        listed = valid(np.arange(total))
        if len(listed) < batch_size:
            return None
        chosen = np.array(listed)[torch.randperm(len(listed), generator=generator)[:batch_size].numpy()]
    return (oldest + chosen // n_envs) % size, chosen % n_envs


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("lengths", [[60, 7, 50], [1] * 117], ids=["long", "short"])
def test_groups_of_one_are_drawn_as_ever(lengths: list[int], lag: int) -> None:
    ring = labelled([lengths, lengths[::-1]], 100)
    arguments = {"lag": lag, "oldest": 17, "n_slots": 100}
    for batch_size, horizon in itertools.product((1, 10, 40, 90, 190, 200, 201), (0, 1, 3)):
        old, new = torch.Generator().manual_seed(batch_size), torch.Generator().manual_seed(batch_size)
        expected = drawn_before(ring, batch_size, horizon, generator=old, **arguments)
        draw = draw_groups(ring, batch_size, horizon, 1, generator=new, **arguments)
        assert torch.equal(old.get_state(), new.get_state())
        assert (draw is None) == (expected is None)
        if draw is not None and expected is not None:
            assert np.array_equal(draw.start, expected[0]) and np.array_equal(draw.env, expected[1])


def test_sources_draw_as_ever_by_default() -> None:
    source, buffer, _ = filled()
    windows = source.sample(6, 2, torch.Generator().manual_seed(3))
    ring = source._trajectories.ring
    slots = drawn_before(ring, 6, 2, 1, buffer.pos, 40, torch.Generator().manual_seed(3))
    assert windows.episode.tolist() == ring.episode[slots].tolist() and windows.step.tolist() == ring.step[slots].tolist()


def shares(lengths: tuple[int, ...], batch_size: int, per_trajectory: int) -> dict[tuple[int, ...], Fraction]:
    """How probable it is that so many windows come from each trajectory, going through all choices group by group."""
    found: Counter[tuple[int, ...]] = Counter()

    def go_on(named: tuple[int, ...], taken: tuple[int, ...], probability: Fraction) -> None:
        if sum(taken) == batch_size:
            found[taken] += probability  # type: ignore[assignment]
            return
        for i, length in enumerate(lengths):
            if length > named[i]:
                n = min(per_trajectory, length - taken[i], batch_size - sum(taken))
                chance = Fraction(length - named[i], sum(lengths) - sum(named))
                go_on(added(named, i, 1), added(taken, i, n), probability * chance)

    def added(numbers: tuple[int, ...], i: int, n: int) -> tuple[int, ...]:
        return (*numbers[:i], numbers[i] + n, *numbers[i + 1 :])

    go_on((0,) * len(lengths), (0,) * len(lengths), Fraction(1))
    return dict(found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lengths", "batch_size", "per_trajectory"),
    [((9, 5, 2), 3, 2), ((4, 2, 1), 3, 2), ((20, 6, 1), 4, 4), ((3, 3, 1), 5, 9)],
)
def test_trajectories_by_their_length_and_starts_alike(lengths: tuple[int, ...], batch_size: int, per_trajectory: int) -> None:
    size, n_draws = sum(lengths), 4000
    ring, generator = labelled([list(lengths)], size), torch.Generator().manual_seed(0)
    trajectory = np.repeat(np.arange(len(lengths)), lengths)
    shared: Counter[tuple[int, ...]] = Counter()
    counts = np.zeros(size)
    for _ in range(n_draws):
        draw = draw_groups(ring, batch_size, 1, per_trajectory, 1, 0, size, generator)
        assert len(set(draw.start.tolist())) == batch_size
        shared[tuple(np.bincount(trajectory[draw.start], minlength=len(lengths)).tolist())] += 1
        counts[draw.start] += 1
    expected = shares(lengths, batch_size, per_trajectory)
    assert set(shared) <= set(expected) and sum(expected.values()) == 1
    included = [float(sum(p * taken[i] / lengths[i] for taken, p in expected.items())) for i in trajectory]
    observed = np.array([*(shared[taken] for taken in expected), *counts])
    probability = np.array([*(float(p) for p in expected.values()), *included])
    assert (np.abs(observed - n_draws * probability) <= 4.5 * np.sqrt(n_draws * probability * (1 - probability)) + 1e-6).all()


def test_all_subsets_are_equally_likely() -> None:
    n_rows, generator = 6000, torch.Generator().manual_seed(0)
    for size, count in ((5, 2), (5, 3), (4, 1), (3, 3)):
        # Rows of another kind between them must not matter
        sizes, counts = np.tile([size, 1000], n_rows), np.tile([count, 4], n_rows)
        rows = draw_subsets(sizes, counts, generator).reshape(n_rows, count + 4)
        assert rows[:, count:].min() >= 0 and rows[:, count:].max() < 1000
        assert all(len(set(row)) == 4 for row in rows[:, count:].tolist())
        found = Counter(frozenset(row) for row in rows[:, :count].tolist())
        subsets = [frozenset(subset) for subset in itertools.combinations(range(size), count)]
        assert set(found) == set(subsets)
        probability = 1 / len(subsets)
        assert max(abs(n - n_rows * probability) for n in found.values()) <= 4.5 * np.sqrt(n_rows * probability)


class Watched(TrajectoryRing):
    """Counts the slots that are looked at."""

    looked_at = 0

    def mask(self, start: Any, env: Any, horizon: int, lag: int) -> Any:
        self.looked_at += len(start)
        return super().mask(start, env, horizon, lag)


@pytest.mark.parametrize("n_trajectories", [1, 250])
def test_a_large_ring_is_not_listed(n_trajectories: int) -> None:
    size = 100_000
    ring = Watched(size, 2)
    starts = np.zeros((size, 2), dtype=bool)
    starts[:: size // n_trajectories] = True
    ring.episode[:], ring.step[:] = ring.label(starts)
    draw = draw_groups(ring, 128, 4, 8, 0, 0, size, torch.Generator().manual_seed(0))
    # Candidates, two binary searches for each of at most 32 groups, and the batch itself
    assert ring.looked_at <= 3 * 264 + (16 + 32) * 2 * 17 + 2 * 128
    _, counts = np.unique(ring.episode[draw.start, draw.env], return_counts=True)
    assert (counts % 8 == 0).all() and len(set(zip(draw.start.tolist(), draw.env.tolist(), strict=True))) == 128
