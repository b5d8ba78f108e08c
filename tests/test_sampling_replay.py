"""Windows from replay buffers: for any sizes, ends and resets each frame is what its place says, and none is missed."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer

from cpc_rl.sampling import ReplayWindows, Windows
from tests.stamped_env import read_stamps, reward_of, stamp

SHAPE = (1, 3, 4)
IMAGE = spaces.Box(0, 255, SHAPE, np.uint8)
DICT = spaces.Dict({"image": IMAGE, "vector": spaces.Box(-np.inf, np.inf, (2,), np.float32)})
ACTIONS = spaces.Discrete(3)


Places = dict[tuple[int, int, int], list[int]]
"""``(env, episode, step)`` of a start -> the steps that its window shows."""


class Writer:
    """Plays environments that end at random and writes to a buffer what SB3 would."""

    def __init__(self, buffer: ReplayBuffer, seed: int, end: float):
        self.buffer, self.rng, self.end = buffer, np.random.default_rng(seed), end
        self.episode = np.zeros(buffer.n_envs, int)
        self.step = np.zeros(buffer.n_envs, int)

    def observe(self) -> Any:
        places = zip(range(self.buffer.n_envs), self.episode, self.step, strict=True)
        images = np.stack([stamp(env, int(episode), int(step), SHAPE) for env, episode, step in places])
        if isinstance(self.buffer, DictReplayBuffer):
            return {"image": images, "vector": np.stack([self.episode, self.step], axis=1).astype(np.float32)}
        return images

    def write(self) -> None:
        observations = self.observe()
        self.step += 1
        n_envs = self.buffer.n_envs
        done = self.rng.random(n_envs) < self.end
        rewards = reward_of(np.arange(n_envs), self.episode, self.step)
        actions = action_of(np.arange(n_envs), self.episode, self.step)
        truncated = self.episode % 2 == 1
        infos = [{"TimeLimit.truncated": bool(done[i] and truncated[i])} for i in range(n_envs)]
        self.buffer.add(observations, self.observe(), actions, rewards, done, infos)
        self.episode += done
        self.step[done] = 0

    def reset(self) -> None:
        self.episode += 1
        self.step[:] = 0


def action_of(env: Any, episode: Any, step: Any) -> Any:
    return (env + 3 * episode + 5 * step) % 3


def make_buffer(kind: str, size: int, n_envs: int) -> ReplayBuffer:
    arguments: dict[str, Any] = {"device": "cpu", "n_envs": n_envs}
    if kind == "dict":
        return DictReplayBuffer(size * n_envs, DICT, ACTIONS, **arguments)
    if kind == "n-step":
        return NStepReplayBuffer(size * n_envs, IMAGE, ACTIONS, n_steps=3, **arguments)
    memory = {"optimize_memory_usage": True, "handle_timeout_termination": False} if kind == "memory" else {}
    return ReplayBuffer(size * n_envs, IMAGE, ACTIONS, **arguments, **memory)


KINDS = ("plain", "memory", "dict", "n-step")


class Expected:
    """A list of all that was written, from which the windows are worked out with plain loops."""

    def __init__(self, kind: str, size: int, n_envs: int):
        self.kind, self.size = kind, size
        self.columns: list[list[tuple[int, int, bool, bool]]] = [[] for _ in range(n_envs)]  # episode, step, done, unusable

    def window(self, env: int, row: int, horizon: int) -> list[int]:
        """:return: the steps that the window from this row can show."""
        column = self.columns[env]
        episode, step, _, unusable = column[row]
        steps = [step]
        if unusable:
            return []
        for i in range(1, horizon + 1):
            before = column[row + i - 1] if row + i - 1 < len(column) else None
            if before is None or before[0] != episode or before[1] != step + i - 1 or before[3]:
                break
            if self.kind == "memory":
                newest = row + i == len(column)
                if before[2] or (not newest and column[row + i][0] != episode):
                    break
            steps.append(step + i)
        return steps

    def windows(self, horizon: int) -> Places:
        """:return: ``(env, episode, step)`` of every valid start -> the steps of its window."""
        found: Places = {}
        for env, column in enumerate(self.columns):
            oldest = max(len(column) - self.size, 0)
            if self.kind == "memory" and len(column) >= self.size:
                oldest += 1
            for row in range(oldest, len(column)):
                steps = self.window(env, row, horizon)
                if len(steps) > min(horizon, 1):
                    found[env, column[row][0], column[row][1]] = steps
        return found


def check(windows: Windows, valid: Places, horizon: int) -> list[tuple[int, int, int]]:
    """Compare with the expected windows. Returns the starts that were drawn."""
    observations = windows.observations
    if isinstance(observations, dict):
        vectors = observations["vector"].numpy()
        observations = observations["image"]
        stamps = read_stamps(observations.numpy())
        assert np.array_equal(vectors, np.stack([stamps.episode, stamps.step], axis=-1))
    images, mask = observations.numpy(), windows.mask.numpy()
    assert images.dtype == np.uint8 and images.shape[1:] == (horizon + 1, *SHAPE)
    stamps = read_stamps(images)
    starts = []
    for b in range(len(images)):
        env, episode = int(stamps.env[b, 0]), int(stamps.episode[b, 0])
        start = (env, episode, int(stamps.step[b, 0]))
        starts.append(start)
        steps = valid[start]
        n = len(steps)
        assert mask[b].tolist() == [True] * n + [False] * (horizon + 1 - n)
        for i in range(horizon + 1):
            shown = steps[min(i, n - 1)]
            assert np.array_equal(images[b, i], stamp(env, episode, shown, SHAPE))
            if i > 0:
                wanted = np.eye(3)[action_of(env, episode, shown)] if i < n else np.zeros(3)
                assert windows.actions[b, i - 1].tolist() == wanted.tolist()
                assert windows.rewards[b, i - 1] == (reward_of(env, episode, shown) if i < n else 0)
    assert len(set(starts)) == len(starts)
    pairs = {(int(stamps.env[b, 0]), int(stamps.episode[b, 0]), int(windows.episode[b])) for b in range(len(images))}
    assert len(pairs) == len({pair[:2] for pair in pairs}) == len({pair[2] for pair in pairs})
    return starts


def draw_all(source: ReplayWindows, valid: Places, horizon: int, generator: torch.Generator) -> Any:
    """A batch as large as the number of valid starts must hold each once; one more cannot be drawn."""
    assert source.sample(len(valid) + 1, horizon, generator) is None
    if not valid:
        return None
    windows = source.sample(len(valid), horizon, generator)
    assert windows is not None
    assert set(check(windows, valid, horizon)) == set(valid)
    return windows


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(2, 12),
    n_envs=st.integers(1, 3),
    end=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    events=st.lists(st.sampled_from(["write"] * 12 + ["reset", "go on", "interrupt", "draw", "resume"]), max_size=60),
    horizon=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_every_frame_is_in_its_place(
    kind: str, size: int, n_envs: int, end: float, events: list[str], horizon: int, seed: int
) -> None:
    buffer = make_buffer(kind, size, n_envs)
    source = ReplayWindows(buffer, ACTIONS)
    writer, expected = Writer(buffer, seed, end), Expected(kind, size, n_envs)
    generator = torch.Generator().manual_seed(seed)
    stale = False
    for event in ["write", *events, "draw"]:
        if event == "write":
            source.note_step()
            for env in range(n_envs):
                expected.columns[env].append((int(writer.episode[env]), int(writer.step[env]), False, stale))
            writer.write()
            for env in range(n_envs):
                episode, step, _, unusable = expected.columns[env][-1]
                done = bool(buffer.dones[(buffer.pos - 1) % size, env])
                expected.columns[env][-1] = (episode, step, done, unusable)
            stale = False
        elif event == "reset":
            source.mark_seam(reset=True)
            writer.reset()
            stale = False
        elif event in ("go on", "interrupt"):
            # A step is announced, then learn() is left and entered again, which goes on from the old observation
            if event == "interrupt":
                source.note_step()
            source.mark_seam()
            writer.episode += 1
            stale = True
        elif event == "resume":
            state = source.state_dict()
            source = ReplayWindows(buffer, ACTIONS)
            source.load_state_dict(state)
        else:
            draw_all(source, expected.windows(horizon), horizon, generator)
    windows = source.sample(1, horizon, generator)
    assert windows is None or windows.mask[0, 0]
