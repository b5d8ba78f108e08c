"""Atari as the literature plays it: no-ops, the brighter of two frames, lives as episodes; against the emulator itself."""

import cv2
import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import cpc_rl
from agents.build import environment_keywords
from agents.recipe import load_recipe
from envs import make_env, make_vec_env
from envs.lives import LifeLoss
from envs.registration import UnknownEnvironment
from envs.stacking import stack_frames

GAME = "ALE/Breakout-v5"
EVERY_FRAME = {"frameskip": 1, "repeat_action_probability": 0.0, "obs_type": "grayscale"}
FIRE, RIGHT = 1, 2


def bare(**keywords) -> gym.Env:
    """The emulator, frame by frame."""
    make_env(GAME).close()  # its ids are registered
    return gym.make(GAME, disable_env_checker=True, **{**EVERY_FRAME, **keywords})


def test_the_brighter_of_the_last_two_of_four_frames():
    env, game = make_env(GAME, size=84, frame_skip=4, env_kwargs={**EVERY_FRAME, "max_of_two": True}), bare()
    assert env.observation_space == gym.spaces.Box(0, 255, (84, 84, 1), np.uint8)
    for each in (env, game):
        each.reset(seed=3)
    different = 0
    for action in [FIRE, 0, 0, RIGHT, RIGHT, 0, 3, 3, 0, 0] * 4:
        frames = [game.step(action) for _ in range(4)]
        seen, reward, *_ = env.step(action)
        expected = np.maximum(frames[2][0], frames[3][0])
        different += not np.array_equal(expected, frames[3][0])
        assert np.array_equal(seen, resized(expected))
        assert reward == sum(frame[1] for frame in frames)
    assert different  # the ball moves, so that the two frames are not the same


@pytest.mark.parametrize("limit", [41, 42, 43, 44])
def test_an_episode_that_ends_within_a_skip_shows_its_own_last_frames(limit):
    """Its one frame where it ends with the first."""
    more = {"max_episode_steps": limit, "noop_max": 0, "max_of_two": True}
    env, game = make_env(GAME, size=84, frame_skip=4, env_kwargs={**EVERY_FRAME, **more}), bare()
    for each in (env, game):
        each.reset(seed=3)
    frames = [game.step(FIRE if number < 4 else RIGHT)[0] for number in range(limit)]
    for number in range(11):
        seen, _, _, truncated, _ = env.step(FIRE if number == 0 else RIGHT)
    assert truncated
    assert np.array_equal(seen, resized(frames[-1] if limit == 41 else np.maximum(*frames[-2:])))


def test_no_frames_are_no_skip():
    with pytest.raises(ValueError, match="frame_skip must be 1 or more, not 0"):
        make_env(GAME, frame_skip=0, env_kwargs={**EVERY_FRAME, "max_of_two": True})


def resized(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (84, 84), interpolation=cv2.INTER_AREA)[..., None]


def test_episodes_begin_with_one_to_thirty_no_ops_of_the_seed():
    env = make_env(GAME, env_kwargs={**EVERY_FRAME, "noop_max": 30})
    frames = [env.reset(seed=seed)[1]["episode_frame_number"] for seed in range(30)]
    again = [env.reset(seed=seed)[1]["episode_frame_number"] for seed in range(30)]
    assert frames == again and 1 <= min(frames) and max(frames) <= 30 and len(set(frames)) > 10


def test_what_is_not_asked_for_changes_nothing():
    ours, game = make_env(GAME, size=84, frame_skip=1, env_kwargs=EVERY_FRAME), bare()
    for action in (None, FIRE, 0, RIGHT):
        seen, frame = (each.reset(seed=1)[0] if action is None else each.step(action)[0] for each in (ours, game))
        assert np.array_equal(seen, resized(frame))


def test_mistakes_are_said():
    with pytest.raises(ValueError, match="max_of_two needs every frame of ALE/Breakout-v5, so frameskip must be 1"):
        make_env(GAME, env_kwargs={"max_of_two": True})
    with pytest.raises(ValueError, match="could not be made"):
        make_env("PixelCatch-v0", env_kwargs={"noop_max": 30})
    with pytest.raises(UnknownEnvironment, match="did you mean ALE/Breakout-v5"):
        make_env("ALE/Brekout-v5")


class Lives(gym.Env):
    """Three lives of three steps each; the picture is the number of the step, and a step gives a reward of 1."""

    observation_space = gym.spaces.Box(0, 255, (8, 8, 1), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, tells=True):
        self.tells = tells

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return self.result()[0], self.result()[4]

    def step(self, action):
        self.count += 1
        return self.result()

    def result(self):
        lives = 3 - self.count // 3
        return np.full((8, 8, 1), self.count, np.uint8), 1.0, lives == 0, False, {"lives": lives} if self.tells else {}


def test_a_lost_life_ends_the_learners_episode_alone():
    venv = stack_frames(LifeLoss(DummyVecEnv([lambda: Monitor(Lives())])), 2)
    seen = [venv.reset()[0, :, 0, 0].tolist()]
    dones, last, games = [], [], []
    for _ in range(12):
        observations, rewards, done, infos = venv.step([0])
        seen.append(observations[0, :, 0, 0].tolist())
        dones.append(bool(done[0]))
        if done[0]:
            last.append(infos[0]["terminal_observation"][:, 0, 0].tolist())
            assert not infos[0]["TimeLimit.truncated"]
        games += [info["episode"]["r"] for info in infos if "episode" in info]
        assert rewards[0] == 1
    assert dones == [False, False, True] * 4
    assert seen[:10] == [[0, 0], [0, 1], [1, 2], [0, 3], [3, 4], [4, 5], [0, 6], [6, 7], [7, 8], [0, 0]]
    assert last == [[2, 3], [5, 6], [8, 9], [2, 3]]
    assert games == [9]


def test_lives_have_to_be_told():
    venv = LifeLoss(DummyVecEnv([lambda: Lives(tells=False)]))
    venv.reset()
    with pytest.raises(ValueError, match=r"only where info\['lives'\] tells them"):
        venv.step([0])


def test_the_recipes_games_lose_lives():
    recipe = load_recipe(GAME, "qrdqn")
    assert load_recipe(GAME, "dqn").environment == load_recipe(GAME, "ppo").environment == recipe.environment
    keywords = environment_keywords(recipe, pixels=False)
    venv = make_vec_env(GAME, 1, 0, vec="dummy", lives_as_episodes=recipe.lives_as_episodes, **keywords)
    assert venv.observation_space.shape == (4, 84, 84)
    venv.reset()
    ends, games, generator = 0, 0, np.random.default_rng(0)
    while not games:
        _, _, dones, infos = venv.step(generator.integers(4, size=1))
        ends += dones[0]
        games += "episode" in infos[0]
    assert ends == 5  # Breakout has five lives


def test_stored_frames_stop_at_a_lost_life():
    """The buffer that stores frames once gives the stacks that were seen."""
    venv = stack_frames(LifeLoss(DummyVecEnv([lambda: Monitor(Lives())])), 2)
    buffer = cpc_rl.FrameStackReplayBuffer(20, venv.observation_space, venv.action_space, n_stack=2)
    observations, seen, following = venv.reset(), [], []
    for _ in range(12):
        after, rewards, dones, infos = venv.step([0])
        real = infos[0]["terminal_observation"][None] if dones[0] else after
        buffer.add(observations, real, np.zeros((1, 1)), rewards, dones, infos)
        seen.append(observations[0])
        following.append(real[0])
        observations = after
    for index in range(12):
        sample = buffer._get_samples(np.array([index]))
        assert np.array_equal(sample.observations[0].numpy(), seen[index])
        assert np.array_equal(sample.next_observations[0].numpy(), following[index])
