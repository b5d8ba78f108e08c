"""FrameStackRolloutBuffer gives the minibatches of Stable-Baselines3's rollout buffers, bit for bit."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from cpc_rl.buffers import FrameStackRolloutBuffer
from cpc_rl.sampling import RolloutWindows
from tests.algorithms import same_parameters
from tests.buffer_streams import EVENTS, Stream, space
from tests.stamped_env import StampedEnv
from tests.test_buffers_replay import same

ACTIONS = spaces.Box(-1, 1, (2,))


def make_pair(length: int, n_envs: int, n_stack: int, as_dict: bool) -> tuple[RolloutBuffer, FrameStackRolloutBuffer]:
    """A buffer of SB3's and ours."""
    arguments: tuple[Any, ...] = (length, space(n_stack, as_dict), ACTIONS, "cpu", 0.9, 0.95, n_envs)
    depths = {"camera": n_stack, "map": 1} if as_dict else n_stack
    return (DictRolloutBuffer if as_dict else RolloutBuffer)(*arguments), FrameStackRolloutBuffer(*arguments, n_stack=depths)


def same_batches(theirs: RolloutBuffer, ours: FrameStackRolloutBuffer, batch_size: int | None, seed: int) -> bool:
    np.random.seed(seed)
    expected = list(theirs.get(batch_size))
    np.random.seed(seed)
    found = list(ours.get(batch_size))
    pairs = [pair for batches in zip(expected, found, strict=True) for pair in zip(*batches, strict=True)]
    return type(expected[0]) is type(found[0]) and all(same(a, b) for a, b in pairs)


def same_windows(theirs: RolloutWindows, ours: RolloutWindows, seed: int) -> bool:
    windows = [s.sample(2, 2, torch.Generator().manual_seed(seed), per_trajectory=1 + seed % 2) for s in (theirs, ours)]
    if windows[0] is None or windows[1] is None:
        return windows[0] is windows[1]
    return all(same(a, b) for a, b in zip(*windows, strict=True))


@settings(max_examples=100, deadline=None)
@given(
    length=st.integers(1, 8),
    n_envs=st.integers(1, 3),
    n_stack=st.integers(1, 5),
    repeat=st.booleans(),
    end=st.sampled_from([0.0, 0.2, 1.0]),
    as_dict=st.booleans(),
    capacity=st.integers(1, 20),
    events=st.lists(st.sampled_from(["step"] * 6 + list(EVENTS)), min_size=4, max_size=30),
    seed=st.integers(0, 1000),
)
def test_minibatches_and_windows_are_those_of_sb3(
    length: int,
    n_envs: int,
    n_stack: int,
    repeat: bool,
    end: float,
    as_dict: bool,
    capacity: int,
    events: list[str],
    seed: int,
) -> None:
    theirs, ours = buffers = make_pair(length, n_envs, n_stack, as_dict)
    windows = RolloutWindows(ACTIONS, capacity), RolloutWindows(ACTIONS, capacity)
    stream = Stream(n_envs, n_stack, repeat, end, seed, as_dict)
    for number, event in enumerate([*events, *["step"] * length]):
        if event != "step":
            getattr(stream, event)()
            continue
        obs, _, action, reward, done, _ = stream.step()
        value, log_prob = torch.rand(2, n_envs, generator=torch.Generator().manual_seed(number))
        for buffer in buffers:
            buffer.add(obs, action, reward, done, value, log_prob)
        assert (ours.pos, ours.full) == (theirs.pos, theirs.full)
        if ours.full:
            for buffer, source in zip(buffers, windows, strict=True):
                buffer.compute_returns_and_advantage(value, done)
                source.add(buffer)
            for batch_size in (None, 3):
                assert same_windows(*windows, seed=number)
                assert same_batches(theirs, ours, batch_size, seed + number)
            for buffer in buffers:
                buffer.reset()
            assert same_windows(*windows, seed=number)  # a reset leaves the last rollout to those who read it


def stacked_envs(dict_obs: bool) -> VecFrameStack:
    return VecFrameStack(DummyVecEnv([lambda i=i: StampedEnv(i, dict_obs=dict_obs, channels_last=True) for i in range(2)]), 4)


@pytest.mark.parametrize(("algorithm", "dict_obs"), [(PPO, False), (PPO, True), (A2C, False), (TRPO, False)])
def test_training_is_bit_identical(algorithm: Any, dict_obs: bool) -> None:
    policy = "MultiInputPolicy" if dict_obs else "CnnPolicy"
    extractor = {"cnn_output_dim": 8} if dict_obs else {"features_dim": 8}
    models = [
        algorithm(
            policy,
            stacked_envs(dict_obs),
            n_steps=8,
            seed=0,
            policy_kwargs={"features_extractor_kwargs": dict(extractor)},
            device="cpu",
            **keywords,
        ).learn(48)
        for keywords in (
            {},
            {"rollout_buffer_class": FrameStackRolloutBuffer, "rollout_buffer_kwargs": {"n_stack": 4}},
        )
    ]
    assert isinstance(models[1].rollout_buffer, FrameStackRolloutBuffer)
    assert same_parameters(*models)


def test_bytes_of_a_rollout() -> None:
    image = spaces.Box(0, 255, (12, 84, 84), np.uint8)
    theirs = RolloutBuffer(64, image, ACTIONS, n_envs=2)
    ours = FrameStackRolloutBuffer(64, image, ACTIONS, n_envs=2, n_stack=4)
    stacks = np.random.default_rng(0).integers(0, 256, (2, 12 + 3 * 63, 84, 84), dtype=np.uint8)
    for i in range(64):
        ours.add(stacks[:, 3 * i : 3 * i + 12], np.zeros((2, 2)), np.zeros(2), np.zeros(2), torch.zeros(2), torch.zeros(2))
    their_bytes = sum(a.nbytes for a in vars(theirs).values() if isinstance(a, np.ndarray))
    assert ours.observations[0].tobytes() == stacks[:, :12].tobytes()
    assert ours.nbytes < their_bytes / 3


def test_requests_that_make_no_sense() -> None:
    image = spaces.Box(0, 255, (9, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="must be told how many frames are stacked"):
        FrameStackRolloutBuffer(4, image, ACTIONS)
    with pytest.raises(ValueError, match="no 4 frames"):
        FrameStackRolloutBuffer(4, image, ACTIONS, n_stack=4)
    with pytest.raises(ValueError, match="0 of its 4 steps"):
        next(FrameStackRolloutBuffer(4, image, ACTIONS, n_stack=3).get())
