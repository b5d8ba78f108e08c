"""Whatever is stored, FrameStackReplayBuffer gives what Stable-Baselines3's replay buffers give, bit for bit."""

import pickle
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from cpc_rl.buffers import FrameStackReplayBuffer
from tests.buffer_streams import EVENTS, Stream, space
from tests.stamped_env import StampedEnv

ACTIONS = spaces.Box(-1, 1, (2,))


def make_pair(
    size: int, n_envs: int, n_stack: int, as_dict: bool, n_steps: int, compression: str | None = None
) -> tuple[Any, Any]:
    """A buffer of SB3's and ours."""
    arguments: dict[str, Any] = {"device": "cpu", "n_envs": n_envs}
    depths = {"camera": n_stack, "map": 1} if as_dict else n_stack
    own = {"n_stack": depths, "n_steps": n_steps, "gamma": 0.9, "compression": compression}
    ours = FrameStackReplayBuffer(size * n_envs, space(n_stack, as_dict), ACTIONS, **own, **arguments)
    kind = DictReplayBuffer if as_dict else ReplayBuffer
    if n_steps > 1:
        kind, arguments = NStepReplayBuffer, {**arguments, "n_steps": n_steps, "gamma": 0.9}
    return kind(size * n_envs, space(n_stack, as_dict), ACTIONS, **arguments), ours


def same(a: Any, b: Any) -> bool:
    """Values, types and shapes of two batches are the same, bit for bit."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def same_samples(theirs: Any, ours: Any, batch_size: int, seed: int, env: Any = None) -> bool:
    np.random.seed(seed)
    expected = theirs.sample(batch_size, env=env)
    after = np.random.randint(1 << 30)
    np.random.seed(seed)
    found = ours.sample(batch_size, env=env)
    assert type(found) is type(expected) and np.random.randint(1 << 30) == after
    return all(same(a, b) for a, b in zip(expected, found, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 12),
    n_envs=st.integers(1, 3),
    n_stack=st.integers(1, 5),
    repeat=st.booleans(),
    end=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    as_dict=st.booleans(),
    n_steps=st.integers(1, 4),
    compression=st.sampled_from([None, None, "zlib"]),
    events=st.lists(st.sampled_from(["step"] * 8 + ["copy", "empty", *EVENTS]), min_size=10, max_size=50),
    seed=st.integers(0, 1000),
)
def test_samples_are_those_of_sb3(
    size: int,
    n_envs: int,
    n_stack: int,
    repeat: bool,
    end: float,
    as_dict: bool,
    n_steps: int,
    compression: str | None,
    events: list[str],
    seed: int,
) -> None:
    n_steps = 1 if as_dict else n_steps  # SB3 has no n-step buffer for Dict observations
    theirs, ours = make_pair(size, n_envs, n_stack, as_dict, n_steps, compression)
    stream = Stream(n_envs, n_stack, repeat, end, seed, as_dict)
    for number, event in enumerate(events):
        if event == "step":
            step = stream.step()
            theirs.add(*step)
            ours.add(*step)
        elif event == "copy":
            ours = pickle.loads(pickle.dumps(ours))
        elif event == "empty":
            theirs.reset()
            ours.reset()
        else:
            getattr(stream, event)()
        assert (ours.pos, ours.full, ours.size()) == (theirs.pos, theirs.full, theirs.size())
        if ours.size() > 0:
            assert same_samples(theirs, ours, 3 * size, seed + number)
    slots = np.arange(ours.size())
    for a, b in [(theirs.observations, ours.observations), (theirs.next_observations, ours.next_observations)]:
        for x, y in [(a[key], b[key]) for key in a] if as_dict else [(a, b)]:
            assert x.shape == y.shape and x.dtype == y.dtype and np.array_equal(x[slots], y[slots])


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("norm_obs", [True, False])
def test_normalised_samples(n_steps: int, norm_obs: bool) -> None:
    theirs, ours = make_pair(20, 2, 3, False, n_steps)
    env = VecNormalize(DummyVecEnv([lambda: StampedEnv(shape=(6, 3, 2))]), norm_obs=norm_obs)
    rng = np.random.default_rng(0)
    if norm_obs:
        env.obs_rms.update(rng.normal(100, 30, (50, 6, 3, 2)))
    env.ret_rms.update(rng.normal(3, 2, 50))
    stream = Stream(2, 3, repeat=False, end=0.2, seed=0)
    for _ in range(30):
        step = stream.step()
        theirs.add(*step)
        ours.add(*step)
    assert same_samples(theirs, ours, 40, 0, env)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize(("n_stack", "repeat"), [(1, False), (2, False), (4, False), (4, True)])
def test_the_depth_shows_in_the_first_step(n_stack: int, repeat: bool, as_dict: bool) -> None:
    theirs, _ = make_pair(6, 2, n_stack, as_dict, 1)
    ours = FrameStackReplayBuffer(12, space(n_stack, as_dict), ACTIONS, device="cpu", n_envs=2)
    entry = ours.observations["camera"] if as_dict else ours.observations
    assert entry.shape == (6, 2, 2 * n_stack, 3, 2) and not entry[:].any()  # zeros, as in SB3's empty buffer
    stream = Stream(2, n_stack, repeat, 0.1, seed=2, as_dict=as_dict)
    for _ in range(10):
        step = stream.step()
        theirs.add(*step)
        ours.add(*step)
    assert ours.n_stack == ({"camera": n_stack, "map": 1} if as_dict else n_stack)
    assert same_samples(theirs, ours, 20, 0)


def test_float_frames_keep_every_bit() -> None:
    image = space(2, dtype=np.float32)
    theirs, ours = ReplayBuffer(5, image, ACTIONS), FrameStackReplayBuffer(5, image, ACTIONS, n_stack=2)
    frames = np.random.default_rng(0).normal(size=(14, 2, 3, 2)).astype(np.float32)
    frames[3], frames[4], frames[5] = -0.0, 0.0, np.nan
    for i in range(12):
        obs, next_obs = (np.concatenate(frames[j : j + 2])[None] for j in (i, i + 1))
        for buffer in (theirs, ours):
            buffer.add(obs, next_obs, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
        assert same_samples(theirs, ours, 20, i)


def test_frames_are_told_apart_from_what_arrives_later() -> None:
    """What was handed over may be written to afterwards."""
    ours = FrameStackReplayBuffer(4, space(2), ACTIONS, n_stack=2)
    obs, next_obs = (np.full((1, 4, 3, 2), value, dtype=np.uint8) for value in (1, 2))
    ours.add(obs, next_obs, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
    next_obs[:] = 3
    ours.add(next_obs, next_obs, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
    assert [int(ours.observations[i].max()) for i in range(2)] == [1, 3] and ours.next_observations[0].max() == 2


def fill(ours: FrameStackReplayBuffer, n_steps: int, channels: int, sides: tuple[int, int], episode: int) -> None:
    """Episodes of noise with padding by zeros."""
    rng = np.random.default_rng(0)
    n_frames = ours.observation_space.shape[0] // channels
    stack = np.zeros((n_frames, channels, *sides), dtype=np.uint8)
    for i in range(n_steps):
        if i % episode == 0:
            stack = np.zeros_like(stack)
            stack[-1] = rng.integers(1, 256, stack[-1].shape)
        following = np.concatenate((stack[1:], rng.integers(1, 256, (1, *stack[-1].shape), dtype=np.uint8)))
        obs, next_obs = (x.reshape(1, -1, *sides) for x in (stack, following))
        ours.add(obs, next_obs, np.zeros((1, 2)), np.zeros(1), np.array([i % episode == episode - 1]), [{}])
        stack = following


@pytest.mark.parametrize(("n_stack", "goal"), [(3, 5.9), (4, 7.8)])
def test_bytes_per_transition(n_stack: int, goal: float) -> None:
    """84 x 84 RGB, episodes of 200 steps, after the ring has wrapped: one frame, some numbers, and one frame for each end."""
    image = spaces.Box(0, 255, (3 * n_stack, 84, 84), np.uint8)
    theirs = ReplayBuffer(2000, image, ACTIONS)
    ours = FrameStackReplayBuffer(2000, image, ACTIONS, n_stack=n_stack)
    fill(ours, 2300, 3, (84, 84), episode=200)
    their_bytes = sum(a.nbytes for a in vars(theirs).values() if isinstance(a, np.ndarray))
    # Each transition's frame, the two newest stacks, and one frame of each of 12 ends with room for a few more
    assert ours.nbytes <= (2000 + 2 * n_stack + 18) * 3 * 84 * 84 + 2001 * (8 + 12 + 8 * n_stack)
    assert ours.nbytes <= their_bytes / goal
    assert len(pickle.dumps(ours)) < 1.01 * ours.nbytes


def test_what_was_never_written_is_not_saved() -> None:
    ours = FrameStackReplayBuffer(2000, spaces.Box(0, 255, (6, 32, 32), np.uint8), ACTIONS, n_stack=2)
    fill(ours, 20, 3, (32, 32), episode=100)
    assert len(pickle.dumps(ours)) < 0.1 * ours.nbytes


def test_bytes_of_compressed_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of two values takes an eighth at the least. zstd is found where it is installed, and named where it is not."""
    image, step = spaces.Box(0, 255, (6, 32, 32), np.uint8), (np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
    plain, small = (FrameStackReplayBuffer(50, image, ACTIONS, n_stack=2, compression=name) for name in (None, "zlib"))
    frames = np.random.default_rng(0).integers(0, 2, (71, 1, 3, 32, 32), dtype=np.uint8)
    for i in range(69):
        obs, next_obs = (frames[j : j + 2].reshape(1, 6, 32, 32) for j in (i, i + 1))
        for buffer in (plain, small):
            buffer.add(obs, next_obs, *step)
    assert plain.nbytes / 8 < small.nbytes < plain.nbytes / 3
    store = small._stored.frames["image"].store
    places = [*store.ring, *store.extra]
    written = {id(place): sys.getsizeof(place) for place in places if place is not store._blank}
    # 52 frames in the ring, and the first observation's two
    assert len(written) == 54 and store.nbytes == sum(written.values()) + 8 * len(places)

    module = "compression.zstd" if sys.version_info >= (3, 14) else "zstd"
    stand_in = SimpleNamespace(compress=lambda data, level: bytes([level]) + data, decompress=lambda data: data[1:])
    monkeypatch.setitem(sys.modules, module, stand_in)  # type: ignore[arg-type]
    ours = FrameStackReplayBuffer(5, image, ACTIONS, n_stack=2, compression="zstd")
    ours.add(frames[:2].reshape(1, 6, 32, 32), frames[1:3].reshape(1, 6, 32, 32), *step)
    assert np.array_equal(ours.next_observations[0, 0], frames[1:3].reshape(6, 32, 32))
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    with pytest.raises(ImportError, match="pip install zstd"):
        FrameStackReplayBuffer(5, image, ACTIONS, n_stack=2, compression="zstd")


def test_a_depth_that_does_not_fit_is_noticed() -> None:
    ours = FrameStackReplayBuffer(200, spaces.Box(0, 255, (12, 8, 8), np.uint8), ACTIONS, n_stack=2)
    with pytest.warns(UserWarning, match="not their observations moved on by one of 2 frames of 6 channel"):
        fill(ours, 150, 3, (8, 8), episode=50)


def test_a_file_of_another_version_is_refused() -> None:
    ours = FrameStackReplayBuffer(4, space(2), ACTIONS, n_stack=2)
    with pytest.raises(ValueError, match="version 0, but version 1"):
        FrameStackReplayBuffer.__new__(FrameStackReplayBuffer).__setstate__({**ours.__getstate__(), "version": 0})


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n_stack": 4}, "n_stack is 4, but observations of shape .* have 6 channels"),
        ({"n_stack": 0}, "n_stack is 0"),
        ({"n_stack": {"camera": 2}}, r"names \['camera'\], but the image entries are \['image'\]"),
        ({"compression": "gzip"}, "must be None, 'zlib' or 'zstd', but it is 'gzip'"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"optimize_memory_usage": True}, "leave optimize_memory_usage out"),
        ({"observation_space": spaces.Box(-1, 1, (4,))}, "needs image observations"),
        ({"observation_space": spaces.Dict({"vector": spaces.Box(-1, 1, (4,))})}, "needs image observations"),
    ],
)
def test_requests_that_make_no_sense(keywords: dict[str, Any], message: str) -> None:
    arguments = {"observation_space": spaces.Box(0, 255, (6, 8, 8), np.uint8), **keywords}
    with pytest.raises(ValueError, match=message):
        FrameStackReplayBuffer(10, action_space=ACTIONS, **arguments)


def test_a_first_step_that_changes_nothing_shows_no_depth() -> None:
    ours = FrameStackReplayBuffer(10, space(3), ACTIONS)
    still = np.ones((1, 6, 3, 2), dtype=np.uint8)
    with pytest.raises(ValueError, match="give n_stack"):
        ours.add(still, still, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])


def test_stacks_are_read_whole() -> None:
    _, ours = make_pair(4, 2, 2, False, 1)
    assert ours.observations[0, 1].shape == (4, 3, 2) and ours.observations[:, :, :].shape == (4, 2, 4, 3, 2)
    for key in [(0, 0, 0), (..., 0), (slice(None), slice(None), slice(2))]:
        with pytest.raises(IndexError, match="read whole"):
            ours.observations[key]
    assert np.asarray(ours.observations).shape == ours.observations.shape
