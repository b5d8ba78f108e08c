"""Actions as vectors, how starts are drawn, what is refused, and what a batch looks like."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from cpc_rl import ContrastiveCallback
from cpc_rl.gathering import _take
from cpc_rl.sampling import ReplayWindows, RolloutWindows, action_dim, encode_actions, window_source
from tests.algorithms import make_model
from tests.stamped_env import StampedEnv, read_stamps
from tests.test_sampling_replay import expected_windows, make_buffer, write
from tests.window_checks import ACTIONS, SHAPE, Episodes

ENCODINGS: list[tuple[spaces.Space, list[float], bool, list[float]]] = [
    (spaces.Discrete(4), [2], False, [0, 0, 1, 0]),
    (spaces.MultiDiscrete([2, 3, 1]), [1, 2, 0], False, [0, 1, 0, 0, 1, 1]),
    (spaces.MultiBinary(3), [1, 0, 1], False, [1, 0, 1]),
    (spaces.Box(-2.0, 2.0, (2,)), [1.0, 5.0], False, [0.5, 1.0]),
    (spaces.Box(-2.0, 2.0, (2,)), [1.0, -0.5], True, [1.0, -0.5]),
    (spaces.Box(np.array([0, -1, 3], np.float32), np.array([10, 1, 3], np.float32)), [0, 0.5, 7], False, [-1, 0.5, 3]),
    (spaces.Box(np.array([-np.inf, 0], np.float32), np.array([1, np.inf], np.float32)), [-7, -3], False, [-7, 0]),
]


@pytest.mark.parametrize(("space", "stored", "scaled", "expected"), ENCODINGS)
def test_actions_as_vectors(space: spaces.Space, stored: list[float], scaled: bool, expected: list[float]) -> None:
    actions = np.tile(np.array(stored, dtype=space.dtype), (5, 3, 1))
    encoded = encode_actions(actions, space, scaled)
    assert encoded.dtype == np.float32
    assert encoded.shape == (5, 3, action_dim(space)) == (5, 3, len(expected))
    assert (encoded == np.array(expected, dtype=np.float32)).all()


def test_a_space_that_is_no_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="Tuple space cannot be written as one vector"):
        action_dim(spaces.Tuple([spaces.Discrete(2)]))


def filled(kind: str = "plain", size: int = 40, n_envs: int = 2, n_writes: int = 50) -> tuple[ReplayWindows, Any, Episodes]:
    buffer, episodes = make_buffer(kind, size, n_envs), Episodes(n_envs, 0, 0.2)
    source = ReplayWindows(buffer, ACTIONS)
    for _ in range(n_writes):
        source.note_step()
        write(buffer, episodes)
    return source, buffer, episodes


@pytest.mark.parametrize("batch_size", [4, 40], ids=["with rejection", "from a list"])
@pytest.mark.parametrize("kind", ["plain", "memory"])
def test_all_starts_are_equally_likely(kind: str, batch_size: int) -> None:
    source, buffer, episodes = filled(kind)
    expected = expected_windows(buffer, episodes, 2)
    generator, n_draws = torch.Generator().manual_seed(0), 4000 // batch_size * 4
    counts = dict.fromkeys(expected, 0)
    for _ in range(n_draws):
        stamps = read_stamps(source.sample(batch_size, 2, generator).observations.numpy())
        for b in range(batch_size):
            counts[int(stamps.env[b, 0]), int(stamps.episode[b, 0]), int(stamps.step[b, 0])] += 1
    probability = batch_size / len(expected)
    deviation = np.sqrt(n_draws * probability * (1 - probability))
    assert np.abs(np.array(list(counts.values())) - n_draws * probability).max() < 4.5 * deviation


@pytest.mark.parametrize("batch_size", [4, 40], ids=["with rejection", "from a list"])
def test_draws_use_the_given_generator_alone(batch_size: int) -> None:
    source, _, _ = filled()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first, second, third = (source.sample(batch_size, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.observations, third.observations)


def test_a_window_longer_than_the_ring_stays_in_it() -> None:
    buffer, episodes = make_buffer("plain", 4, 1), Episodes(1, 0, 0.0)
    source = ReplayWindows(buffer, ACTIONS)
    for _ in range(7):
        source.note_step()
        write(buffer, episodes)
    windows = source.sample(4, 9, torch.Generator().manual_seed(0))
    assert sorted(windows.mask.sum(dim=1).tolist()) == [2, 3, 4, 5]


def test_shapes_types_and_layout() -> None:
    source, _, _ = filled()
    windows = source.sample(6, 3, torch.Generator().manual_seed(0), device="cpu")
    shapes = [tuple(tensor.shape) for tensor in windows]
    assert shapes == [(6, 4, *SHAPE), (6, 3, 3), (6, 3), (6, 4), (6,), (6,)]
    types = [tensor.dtype for tensor in windows]
    assert types == [torch.uint8, torch.float32, torch.float32, torch.bool, torch.int64, torch.int64]
    assert all(windows.observations[:, i].is_contiguous() for i in range(4))
    alone = source.sample(6, 0, torch.Generator().manual_seed(0))
    assert [tuple(tensor.shape) for tensor in alone] == [(6, 1, *SHAPE), (6, 0, 3), (6, 0), (6, 1), (6,), (6,)]


def test_strided_arrays_are_read_too() -> None:
    array = np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)
    out = np.empty((4, 4), dtype=array.dtype)
    _take(array, np.array([0, 1, 4, 5]), out)
    assert out.tolist() == [array[0, 0].tolist(), array[0, 1].tolist(), array[2, 0].tolist(), array[2, 1].tolist()]


def test_requests_that_no_window_answers() -> None:
    source, _, _ = filled()
    generator = torch.Generator()
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        source.sample(0, 2, generator)
    with pytest.raises(ValueError, match="horizon at least 0"):
        source.sample(1, -1, generator)
    with pytest.raises(ValueError, match="no Dict: leave keys out"):
        source.sample(1, 1, generator, keys=("image",))
    with pytest.raises(ValueError, match=r"have \('image', 'vector'\)"):
        filled("dict")[0].sample(1, 1, generator, keys=("picture",))
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        RolloutWindows(ACTIONS, capacity=0)


def test_a_state_goes_only_where_it_belongs() -> None:
    source, _, _ = filled()
    rollouts = RolloutWindows(ACTIONS)
    with pytest.raises(ValueError, match="this model has a replay buffer"):
        source.load_state_dict(rollouts.state_dict())
    with pytest.raises(ValueError, match="this model collects rollouts"):
        rollouts.load_state_dict(source.state_dict())
    rollouts.load_state_dict(rollouts.state_dict())


def test_the_state_of_another_buffer_makes_no_wrong_window() -> None:
    """As when the model was saved at another step than its replay buffer."""
    source, buffer, episodes = filled()
    state = source.state_dict()
    source.note_step()
    write(buffer, episodes)
    other = ReplayWindows(buffer, ACTIONS)
    other.load_state_dict(state)
    expected = expected_windows(buffer, episodes, 2)
    windows = other.sample(len(expected), 2, torch.Generator())
    stamps = read_stamps(windows.observations.numpy())
    for b in range(len(expected)):
        steps = expected[int(stamps.env[b, 0]), int(stamps.episode[b, 0]), int(stamps.step[b, 0])].steps
        assert stamps.step[b][windows.mask[b].numpy()].tolist() == steps


class OddRollout(RolloutBuffer):
    """Keeps its observations elsewhere."""

    def reset(self) -> None:
        super().reset()
        self.observations = [None] * self.buffer_size  # type: ignore[assignment]


class OddReplay(ReplayBuffer):
    """Stores a flattened observation."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.next_observations = self.next_observations.reshape(self.buffer_size, self.n_envs, -1)


class NoEnds(ReplayBuffer):
    """Does not know where episodes end."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        del self.dones


def test_models_without_such_a_buffer_are_refused() -> None:
    envs = DummyVecEnv([StampedEnv, StampedEnv])
    net = {"net_arch": [8], "features_extractor_kwargs": {"features_dim": 8}}
    arguments: dict[str, Any] = {"env": envs, "policy_kwargs": net, "device": "cpu"}
    with pytest.raises(ValueError, match="ARS has neither a rollout buffer nor a replay buffer"):
        window_source(ARS("MlpPolicy", envs, policy_kwargs={"net_arch": [8]}, device="cpu"))
    with pytest.raises(ValueError, match=r"observations should be a NumPy array .* but it is list"):
        window_source(A2C("CnnPolicy", rollout_buffer_class=OddRollout, **arguments))
    with pytest.raises(ValueError, match=r"next_observations should be a NumPy array .* of shape \(10, 2, 3888\)"):
        window_source(DQN("CnnPolicy", buffer_size=20, replay_buffer_class=OddReplay, **arguments))
    with pytest.raises(ValueError, match="a NoEnds, which has no 'dones'"):
        window_source(DQN("CnnPolicy", buffer_size=20, replay_buffer_class=NoEnds, **arguments))
    with pytest.raises(ValueError, match="at least twice the number of environments"):
        window_source(DQN("CnnPolicy", buffer_size=3, **arguments))
    assert isinstance(window_source(PPO("CnnPolicy", **arguments), capacity=5), RolloutWindows)
    assert isinstance(window_source(DQN("CnnPolicy", buffer_size=4, **arguments)), ReplayWindows)


def test_trajectories_of_rollouts_are_numbered_on_after_loading() -> None:
    """A head's queue keeps keys with their trajectories' numbers: new ones must not be taken for those."""
    model = make_model("PPO", n_envs=2)
    first = ContrastiveCallback("moco", {"negatives": {"source": "queue", "exclude_near": 3}}, batch_size=8)
    model.learn(128, callback=first)
    old = first._windows.state_dict()
    assert old["next_rollout_episode"] > 2
    again = ContrastiveCallback("moco", {"negatives": {"source": "queue", "exclude_near": 3}}, batch_size=8)
    model.learn(64, callback=again, reset_num_timesteps=False)
    ring = again._windows._ring
    assert ring.episode[ring.episode != ring.UNUSABLE].min() >= old["next_rollout_episode"]
    RolloutWindows(ACTIONS).load_state_dict({})  # an older version's
