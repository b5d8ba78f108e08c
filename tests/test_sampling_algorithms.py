"""Windows while real algorithms train, over several calls of learn() and over saving and loading."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from cpc_rl.sampling import ReplayWindows, RolloutWindows, window_source
from tests.stamped_env import EPISODE_LENGTHS, StampedEnv, read_stamps, reward_of

HORIZON = 3
TINY = {"features_extractor_kwargs": {"features_dim": 8}}
OFF_POLICY = {"buffer_size": 120, "learning_starts": 20, "batch_size": 8, "train_freq": 4}
ON_POLICY = {"n_steps": 32, "batch_size": 32, "n_epochs": 1}

# name -> class, policy ("MultiInput...": Dict observations), keywords, action space
CASES: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any], str]] = {
    "PPO": (PPO, "CnnPolicy", ON_POLICY, "box"),
    "PPO dict": (PPO, "MultiInputPolicy", ON_POLICY, "multidiscrete"),
    "A2C": (A2C, "CnnPolicy", {}, "multibinary"),
    "RecurrentPPO": (RecurrentPPO, "CnnLstmPolicy", ON_POLICY, "discrete"),
    "RecurrentPPO dict": (RecurrentPPO, "MultiInputLstmPolicy", ON_POLICY, "discrete"),
    "MaskablePPO": (MaskablePPO, "CnnPolicy", ON_POLICY, "discrete"),
    "MaskablePPO dict": (MaskablePPO, "MultiInputPolicy", ON_POLICY, "discrete"),
    "DQN": (DQN, "CnnPolicy", OFF_POLICY, "discrete"),
    "DQN dict": (DQN, "MultiInputPolicy", OFF_POLICY, "discrete"),
    "DQN n-step": (DQN, "CnnPolicy", {**OFF_POLICY, "n_steps": 3}, "discrete"),
    "DQN by episodes": (DQN, "CnnPolicy", {**OFF_POLICY, "train_freq": (1, "episode")}, "discrete"),
    "SAC memory": (
        SAC,
        "CnnPolicy",
        {**OFF_POLICY, "optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
        "box",
    ),
    "SAC n-step": (SAC, "CnnPolicy", {**OFF_POLICY, "n_steps": 3}, "box"),
}


class WindowChecker(BaseCallback):
    """Takes windows as the contrastive callback does, and compares each with the environments' own record."""

    def __init__(self, stop_at: int | None = None):
        super().__init__()
        self.stop_at = stop_at
        self.source: RolloutWindows | ReplayWindows | None = None
        self.generator = torch.Generator().manual_seed(0)
        self.n_windows = 0
        self.n_ends = 0
        self.longest = 0

    def _init_callback(self) -> None:
        if self.source is None:
            self.source = window_source(self.model, capacity=100)

    def _on_training_start(self) -> None:
        self.source.mark_seam(reset=self.locals["reset_num_timesteps"])

    def _on_step(self) -> bool:
        if isinstance(self.source, ReplayWindows):
            self.source.note_step()
        return self.stop_at is None or self.num_timesteps < self.stop_at

    def _on_rollout_end(self) -> None:
        if isinstance(self.source, RolloutWindows):
            self.source.add(self.model.rollout_buffer)
        windows = self.source.sample(16, HORIZON, self.generator)
        if windows is not None:
            self.compare(windows)

    def compare(self, windows: Any) -> None:
        observations = windows.observations
        if isinstance(observations, dict):
            vectors, observations = observations["vector"].numpy(), observations["image"]
            stamps = read_stamps(observations.numpy())
            assert np.array_equal(vectors, np.stack(stamps, axis=-1))
        stamps = read_stamps(observations.numpy())
        venv = self.training_env.unwrapped
        for b in range(len(observations)):
            env: StampedEnv = venv.envs[int(stamps.env[b, 0])].unwrapped
            episode, first = int(stamps.episode[b, 0]), int(stamps.step[b, 0])
            n = int(windows.mask[b].sum())
            assert n >= 2
            assert windows.mask[b].tolist() == [True] * n + [False] * (HORIZON + 1 - n)
            shown = [first + min(i, n - 1) for i in range(HORIZON + 1)]
            assert stamps.step[b].tolist() == shown
            assert (stamps.episode[b] == episode).all() and (stamps.env[b] == env.env_index).all()
            # After load() the oldest trajectories' beginnings are not known, otherwise they are
            assert windows.step[b] <= first
            for i in range(n - 1):
                taken = env.actions_taken[episode, first + i + 1]
                assert np.allclose(windows.actions[b, i], expected_action(env, taken), atol=1e-5)
                assert windows.rewards[b, i] == reward_of(env.env_index, episode, first + i + 1)
            self.n_windows += 1
            self.longest = max(self.longest, n)
            length = EPISODE_LENGTHS[(episode + env.env_index) % len(EPISODE_LENGTHS)]
            self.n_ends += shown[n - 1] == length
        for a in range(len(observations)):
            for b in range(a):
                if windows.episode[a] == windows.episode[b]:
                    assert (stamps.env[a, 0], stamps.episode[a, 0]) == (stamps.env[b, 0], stamps.episode[b, 0])
                    assert windows.step[a] - windows.step[b] == stamps.step[a, 0] - stamps.step[b, 0]


def expected_action(env: StampedEnv, taken: Any) -> Any:
    """The action that the environment got, as a window writes it."""
    return {
        "Discrete": lambda: np.eye(5)[int(taken)],
        "MultiDiscrete": lambda: np.concatenate([np.eye(3)[taken[0]], np.eye(2)[taken[1]]]),
        "MultiBinary": lambda: np.asarray(taken, dtype=float),
        "Box": lambda: np.array([taken[0], taken[1] / 2 - 1]),
    }[type(env.action_space).__name__]()


def make_envs(actions: str, dict_obs: bool, n_envs: int) -> DummyVecEnv:
    return DummyVecEnv([lambda i=i: StampedEnv(i, actions, dict_obs, channels_last=not dict_obs) for i in range(n_envs)])


def make_model(case: str, seed: int = 0) -> tuple[BaseAlgorithm, DummyVecEnv]:
    algorithm, policy, arguments, actions = CASES[case]
    if "MultiInput" in policy:
        kwargs: dict[str, Any] = {"features_extractor_kwargs": {"cnn_output_dim": 8}}
    else:
        kwargs = {"features_extractor_kwargs": {"features_dim": 8}}
    kwargs["net_arch"] = [8]
    envs = make_envs(actions, "MultiInput" in policy, 1 if case == "DQN by episodes" else 2)
    return algorithm(policy, envs, policy_kwargs=kwargs, seed=seed, device="cpu", **arguments), envs


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:The last trajectory in the replay buffer will be truncated")
def test_windows_while_training(case: str, tmp_path: Path) -> None:
    model, envs = make_model(case)
    checker = WindowChecker()
    model.learn(200, callback=checker)
    model.learn(100, callback=checker)
    model.learn(100, callback=checker, reset_num_timesteps=False)
    # A callback that stops in the middle of a rollout: the step that it saw is never stored
    model.learn(50, callback=[checker, StopAfter(30)], reset_num_timesteps=False)
    model.learn(100, callback=checker, reset_num_timesteps=False)
    assert checker.n_windows >= 100 and checker.longest == HORIZON + 1
    replay = isinstance(checker.source, ReplayWindows)
    stores_ends = replay and not model.replay_buffer.optimize_memory_usage
    assert (checker.n_ends > 0) == stores_ends

    # Someone else's learn(), of which the checker hears nothing, and then its own again
    model.learn(60)
    model.learn(100, callback=checker, reset_num_timesteps=False)

    model.save(tmp_path / "model.zip")
    state = io.BytesIO()
    torch.save(checker.source.state_dict(), state)
    state.seek(0)
    loaded = type(model).load(tmp_path / "model.zip", env=envs, device="cpu")
    if replay:
        model.save_replay_buffer(tmp_path / "buffer.pkl")
        loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    again = WindowChecker()
    again.source = window_source(loaded, capacity=100)
    again.source.load_state_dict(torch.load(state, weights_only=True))
    loaded.learn(150, callback=again, reset_num_timesteps=False)
    assert again.n_windows >= 32


class StopAfter(BaseCallback):
    """Stops training after so many calls."""

    def __init__(self, n_calls: int):
        super().__init__()
        self.stop_after = n_calls

    def _on_step(self) -> bool:
        return self.n_calls < self.stop_after


def test_replay_windows_are_normalised_as_the_algorithm_sees_them() -> None:
    envs = VecNormalize(make_envs("discrete", True, 2), norm_obs_keys=["vector"])
    arguments = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", **OFF_POLICY}
    model = DQN("MultiInputPolicy", envs, **arguments)
    model.learn(60)
    source = window_source(model)
    assert isinstance(source, ReplayWindows)
    everything = source.sample(16, 2, torch.Generator().manual_seed(3))
    image_only = source.sample(16, 2, torch.Generator().manual_seed(3), keys=("image",))
    stamps = np.stack(read_stamps(everything.observations["image"].numpy()), axis=-1).astype(np.float32)
    statistics = envs.obs_rms["vector"]
    expected = np.clip((stamps - statistics.mean) / np.sqrt(statistics.var + envs.epsilon), -10, 10)
    assert np.allclose(everything.observations["vector"], expected, atol=1e-5)
    assert everything.observations["image"].dtype == torch.uint8
    assert list(image_only.observations) == ["image"]
    assert torch.equal(image_only.observations["image"], everything.observations["image"])
