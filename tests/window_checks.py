"""What windows must hold, worked out with plain loops from a list of everything that was stored."""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from cpc_rl.sampling import ReplayWindows, RolloutWindows, Windows
from tests.stamped_env import read_stamps, reward_of, stamp

SHAPE = (1, 3, 4)
IMAGE = spaces.Box(0, 255, SHAPE, np.uint8)
DICT = spaces.Dict({"image": IMAGE, "vector": spaces.Box(-np.inf, np.inf, (2,), np.float32)})
ACTIONS = spaces.Discrete(3)


def action_of(env: Any, episode: Any, step: Any) -> Any:
    """:return: The action that led to this frame."""
    return (env + 3 * episode + 5 * step) % 3


class Row(NamedTuple):
    """One stored step of one environment."""

    trajectory: int | None
    """None: its observation must not be used."""
    place: int
    """in the trajectory"""
    episode: int
    """stamp of its observation"""
    step: int
    done: bool


class Place(NamedTuple):
    """One window: its trajectory, its place in it, and the steps that its true frames are stamped with."""

    trajectory: int
    place: int
    steps: list[int]


Expected = dict[tuple[int, int, int], Place]
"""``(env, episode, step)`` stamped on the first frame -> the window."""


class Episodes:
    """
    Environments that end at random. Every step is recorded, also as the trajectories that may be known to be one.

    :ivar shown: ``(E,)`` stamps of the observation that SB3 acts on, and of the frame that the environment is really at.
    """

    def __init__(self, n_envs: int, seed: int, end: float):
        self.n_envs, self.rng, self.end = n_envs, np.random.default_rng(seed), end
        self.episode, self.step = np.zeros(n_envs, int), np.zeros(n_envs, int)
        self.shown = (self.episode.copy(), self.step.copy())
        self.rows: list[list[Row]] = [[] for _ in range(n_envs)]
        self.n_trajectories = 0
        self.trajectory: list[int | None] = [None] * n_envs
        self.place = [0] * n_envs
        self.stale = False

    def observe(self, as_dict: bool, shown: tuple[NDArray, NDArray]) -> Any:
        images = np.stack([stamp(env, int(shown[0][env]), int(shown[1][env]), SHAPE) for env in range(self.n_envs)])
        return {"image": images, "vector": np.stack(shown, axis=1).astype(np.float32)} if as_dict else images

    def play(self, as_dict: bool) -> tuple[Any, Any, NDArray, NDArray, NDArray]:
        """:return: observation, next observation, action, reward and done of one step."""
        observation = self.observe(as_dict, self.shown)
        self.step += 1
        reached = (self.episode.copy(), self.step.copy())
        done = self.rng.random(self.n_envs) < self.end
        for env in range(self.n_envs):
            if self.trajectory[env] is None:
                self.trajectory[env], self.place[env] = self.n_trajectories, 0
                self.n_trajectories += 1
            shown = int(self.shown[0][env]), int(self.shown[1][env])
            self.rows[env].append(Row(None if self.stale else self.trajectory[env], self.place[env], *shown, bool(done[env])))
            self.place[env] += 1
            if done[env] or self.stale:
                self.trajectory[env] = None
        envs = np.arange(self.n_envs)
        step = observation, self.observe(as_dict, reached), action_of(envs, *reached), reward_of(envs, *reached), done
        self._end(done)
        self.shown = (self.episode.copy(), self.step.copy())
        self.stale = False
        return step

    def _end(self, done: NDArray) -> None:
        self.episode += done
        self.step[done] = 0

    def seam(self, stale: bool) -> None:
        """What comes next is not known to follow."""
        self.trajectory = [None] * self.n_envs
        self.stale = stale

    def reset(self) -> None:
        self._end(np.ones(self.n_envs, dtype=bool))
        self.shown = (self.episode.copy(), self.step.copy())
        self.seam(stale=False)

    def interrupt(self) -> None:
        """A step is taken in the environment and never stored: SB3 still shows the observation before it."""
        self.step += 1
        self._end(self.rng.random(self.n_envs) < self.end)
        self.seam(stale=True)

    def windows(self, n_kept: int, horizon: int, next_stored: bool, newest_next: bool) -> Expected:
        """
        :param n_kept: only the newest rows of each environment can be starts.
        :param next_stored: every step's next observation is stored.
        :param newest_next: that of the newest step is, unless it ended an episode.
        """
        found: Expected = {}
        for env, rows in enumerate(self.rows):
            for start in range(max(len(rows) - n_kept, 0), len(rows)):
                first = rows[start]
                if first.trajectory is None:
                    continue
                steps = [first.step]
                for row in range(start + 1, start + horizon + 1):
                    if next_stored:
                        there = row - 1 < len(rows) and rows[row - 1].trajectory == first.trajectory
                    elif row == len(rows):
                        there = newest_next and not rows[-1].done
                    else:
                        there = row < len(rows) and rows[row].trajectory == first.trajectory
                    if not there:
                        break
                    steps.append(first.step + row - start)
                if len(steps) > min(horizon, 1):
                    found[env, first.episode, first.step] = Place(first.trajectory, first.place, steps)
        return found


def check(windows: Windows, expected: Expected, horizon: int) -> list[tuple[int, int, int]]:
    """Compare windows, frame by frame, with what they must be. Returns the starts that were drawn."""
    observations = windows.observations
    if isinstance(observations, dict):
        stamps = read_stamps(observations["image"].numpy())
        assert np.array_equal(observations["vector"].numpy(), np.stack([stamps.episode, stamps.step], axis=-1))
        observations = observations["image"]
    images, mask = observations.numpy(), windows.mask.numpy()
    assert images.dtype == np.uint8 and images.shape[1:] == (horizon + 1, *SHAPE)
    stamps = read_stamps(images)
    starts, trajectories = [], set()
    for b in range(len(images)):
        env, episode = int(stamps.env[b, 0]), int(stamps.episode[b, 0])
        starts.append((env, episode, int(stamps.step[b, 0])))
        trajectory, place, steps = expected[starts[-1]]
        n = len(steps)
        assert mask[b].tolist() == [True] * n + [False] * (horizon + 1 - n)
        assert windows.step[b] == place
        trajectories.add((trajectory, int(windows.episode[b])))
        for i in range(horizon + 1):
            shown = steps[min(i, n - 1)]
            assert np.array_equal(images[b, i], stamp(env, episode, shown, SHAPE))
            if i > 0:
                action = np.eye(3)[action_of(env, episode, shown)] if i < n else np.zeros(3)
                assert windows.actions[b, i - 1].tolist() == action.tolist()
                assert windows.rewards[b, i - 1] == (reward_of(env, episode, shown) if i < n else 0)
    assert len(set(starts)) == len(starts)
    # Numbers and trajectories are the same up to their names
    assert len(trajectories) == len({pair[0] for pair in trajectories}) == len({pair[1] for pair in trajectories})
    return starts


def check_draws(source: ReplayWindows | RolloutWindows, expected: Expected, horizon: int, generator: torch.Generator) -> None:
    """A batch as large as the number of valid starts holds each of them once, and one more cannot be drawn."""
    assert source.sample(len(expected) + 1, horizon, generator) is None
    for batch_size in {len(expected), len(expected) // 3, min(len(expected), 1)} - {0}:
        windows = source.sample(batch_size, horizon, generator)
        assert windows is not None and len(windows.mask) == batch_size
        starts = check(windows, expected, horizon)
        if batch_size == len(expected):
            assert set(starts) == set(expected)
