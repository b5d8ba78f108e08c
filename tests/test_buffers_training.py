"""Off-policy algorithms train bit-identically with FrameStackReplayBuffer, before and after it fills; windows come from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from cpc_rl import ContrastiveCallback
from cpc_rl.buffers import FrameStackReplayBuffer, FrameStackRolloutBuffer
from cpc_rl.sampling import ReplayWindows, window_source
from tests.algorithms import ALGORITHMS, CONTINUOUS, same_parameters
from tests.buffer_streams import EVENTS, Stream
from tests.stamped_env import StampedEnv
from tests.test_buffers_replay import ACTIONS, make_pair, same

OURS = {"replay_buffer_class": FrameStackReplayBuffer}


def make_envs(name: str, n_envs: int, n_stack: int, as_dict: bool, normalize: bool) -> VecEnv:
    actions = "box" if name in CONTINUOUS else "discrete"
    envs = [lambda i=i: StampedEnv(i, actions, as_dict, channels_last=True) for i in range(n_envs)]
    stacked = VecFrameStack(DummyVecEnv(envs), n_stack)
    # A normalised space is no image to SB3, which would not transpose it
    return VecNormalize(VecTransposeImage(stacked)) if normalize else stacked


def make(
    name: str, n_envs: int = 2, n_stack: int = 3, as_dict: bool = False, normalize: bool = False, **keywords: Any
) -> BaseAlgorithm:
    """A model whose ring of 20 steps wraps within 30."""
    policy_kwargs: dict[str, Any] = {"features_extractor_kwargs": {"cnn_output_dim" if as_dict else "features_dim": 8}}
    if name in CONTINUOUS:
        policy_kwargs["net_arch"] = [8]
    if name == "CrossQ" or normalize:
        policy_kwargs["features_extractor_class"] = NatureCNN
    if normalize:
        policy_kwargs["normalize_images"] = False
        policy_kwargs["features_extractor_kwargs"]["normalized_image"] = True
    policy = "MultiInputPolicy" if as_dict else "MlpPolicy" if name == "CrossQ" else "CnnPolicy"
    settings: dict[str, Any] = {"learning_starts": 10, "buffer_size": 20 * n_envs, "batch_size": 8, "seed": 0, "device": "cpu"}
    envs = make_envs(name, n_envs, n_stack, as_dict, normalize)
    return ALGORITHMS[name](policy, envs, policy_kwargs=policy_kwargs, **{**settings, **keywords})


@pytest.mark.parametrize(
    ("name", "n_envs"),
    [("DQN", 1), ("DQN", 2), ("QRDQN", 2), ("SAC", 1), ("SAC", 2), ("TQC", 2), ("TD3", 2), ("DDPG", 2), ("CrossQ", 2)],
)
def test_training_is_bit_identical(name: str, n_envs: int) -> None:
    # The second learn() resets the environments amid an episode
    models = [
        make(name, n_envs, **keywords).learn(24 * n_envs).learn(8 * n_envs)
        for keywords in ({}, {**OURS, "replay_buffer_kwargs": {"n_stack": 3}})
    ]
    assert all(model.replay_buffer.full for model in models)
    assert same_parameters(*models)


@pytest.mark.parametrize("name", ["DQN", "SAC"])
@pytest.mark.parametrize("kind", ["dict", "normalized", "n-step"])
def test_training_in_other_settings(name: str, kind: str) -> None:
    keywords: dict[str, Any] = {"as_dict": kind == "dict", "normalize": kind == "normalized"}
    theirs = make(name, **keywords, **({"n_steps": 3} if kind == "n-step" else {})).learn(60)
    kwargs: dict[str, Any] = {"n_steps": 3, "gamma": 0.99} if kind == "n-step" else {}
    ours = make(name, **keywords, **OURS, replay_buffer_kwargs=kwargs).learn(60)
    assert ours.replay_buffer.n_stack == ({"image": 3} if kind == "dict" else 3)
    assert same_parameters(theirs, ours)


def test_a_loaded_buffer_goes_on(tmp_path: Path) -> None:
    """Both kinds are saved in the middle of an episode, loaded into new models and trained on."""
    models = []
    for keywords in ({}, {**OURS, "replay_buffer_kwargs": {"n_stack": 3}}):
        model = make("DQN", **keywords).learn(50)
        model.save(tmp_path / "model")
        model.save_replay_buffer(tmp_path / "buffer")
        model = DQN.load(tmp_path / "model", make_envs("DQN", 2, 3, False, False), device="cpu")
        model.load_replay_buffer(tmp_path / "buffer")
        model.set_random_seed(1)
        models.append(model.learn(20, reset_num_timesteps=False))
    assert isinstance(models[1].replay_buffer, FrameStackReplayBuffer)
    assert same_parameters(*models)


def same_windows(theirs: ReplayWindows, ours: ReplayWindows, batch_size: int, horizon: int, seed: int) -> bool:
    windows = [
        source.sample(batch_size, horizon, torch.Generator().manual_seed(seed), per_trajectory=1 + seed % 3)
        for source in (theirs, ours)
    ]
    if windows[0] is None or windows[1] is None:
        return windows[0] is windows[1]
    return all(same(a, b) for a, b in zip(*windows, strict=True))


@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(2, 12),
    n_envs=st.integers(1, 3),
    n_stack=st.integers(1, 4),
    end=st.sampled_from([0.0, 0.1, 0.4]),
    as_dict=st.booleans(),
    announced=st.booleans(),
    events=st.lists(st.sampled_from(["step"] * 8 + ["save and load", *EVENTS]), min_size=10, max_size=40),
    horizon=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_windows_are_those_from_sb3s_buffer(
    size: int,
    n_envs: int,
    n_stack: int,
    end: float,
    as_dict: bool,
    announced: bool,
    events: list[str],
    horizon: int,
    seed: int,
) -> None:
    """With resets that nobody announces, which must be seen in what is stored."""
    buffers = make_pair(size, n_envs, n_stack, as_dict, 1)
    sources = [ReplayWindows(buffer, ACTIONS) for buffer in buffers]
    stream = Stream(n_envs, n_stack, True, end, seed, as_dict)
    for number, event in enumerate(events):
        if event == "step":
            step = stream.step()
            for buffer, source in zip(buffers, sources, strict=True):
                if announced:
                    source.note_step()
                buffer.add(*step)
        elif event == "save and load":
            states = [source.state_dict() for source in sources]
            sources = [ReplayWindows(buffer, ACTIONS) for buffer in buffers]
            for source, state in zip(sources, states, strict=True):
                source.load_state_dict(state)
        else:
            getattr(stream, event)()
        assert same_windows(*sources, batch_size=1 + size // 2, horizon=horizon, seed=seed + number)


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_models_source_of_windows(as_dict: bool) -> None:
    """It is made before the first step, when the depth of the stacks is not known yet."""
    sources = []
    for keywords in ({}, OURS):
        model = make("SAC", as_dict=as_dict, **keywords)
        sources.append(window_source(model))
        model.learn(60)
    assert same_windows(*sources, batch_size=12, horizon=2, seed=0)


def test_windows_need_stacks_of_the_right_shape() -> None:
    buffer = make_pair(4, 1, 2, False, 1)[1]
    buffer.observations = FrameStackReplayBuffer(4, spaces.Box(0, 255, (2, 3, 2), np.uint8), ACTIONS, n_stack=2).observations
    with pytest.raises(ValueError, match=r"should be a NumPy array of shape \(4, 1, 4, 3, 2\)"):
        ReplayWindows(buffer, ACTIONS)


@pytest.mark.parametrize(("name", "objective"), [("SAC", "curl"), ("DQN", "cpc"), ("PPO", "cpc")])
def test_a_head_learns_the_same_from_either(name: str, objective: str) -> None:
    """Windows and shared passes on the update's own minibatch included."""

    def train(ours: bool, callback: ContrastiveCallback | None) -> BaseAlgorithm:
        if name != "PPO":
            return make(name, **(OURS if ours else {})).learn(64, callback=callback)
        buffer = {"rollout_buffer_class": FrameStackRolloutBuffer, "rollout_buffer_kwargs": {"n_stack": 3}} if ours else {}
        sizes: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "device": "cpu"}
        kwargs = {"features_extractor_kwargs": {"features_dim": 8}}
        model = PPO("CnnPolicy", make_envs(name, 2, 3, False, False), seed=0, policy_kwargs=kwargs, **sizes, **buffer)
        return model.learn(64, callback=callback)

    theirs, ours = (train(ours, ContrastiveCallback(objective, batch_size=8)) for ours in (False, True))
    assert same_parameters(theirs, ours)
    assert not same_parameters(train(True, None), ours)
