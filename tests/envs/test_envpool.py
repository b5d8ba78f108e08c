"""EnvPool's environments beside Gymnasium's own."""

import math
import sys
from pathlib import Path

import ale_py
import envpool
import gymnasium as gym
import numpy as np
import pytest
from ale_py.env import AtariEnv
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import envs
import train_agent
from envs.actions import ACTION_TABLES, DiscreteActions
from envs.envpool_vec import EnvPoolVec, PoolTask
from envs.reward import ScaledReward

gym.register_envs(ale_py)


def classic(name: str, n_envs: int, limit: int, frame_skip: int = 1, **options) -> EnvPoolVec:
    """A vector of a classic environment, which observes no image and therefore cannot be had by ``make_vec_env``."""

    def make(seeds: list[int]):
        return envpool.make_gymnasium(name, num_envs=n_envs, env_seed=seeds, max_episode_steps=limit + 1, **options)

    spec = envpool.make_spec(name)
    observed, acted = spec.gymnasium_observation_space, spec.gymnasium_action_space
    return EnvPoolVec(PoolTask(name, make, observed, acted, lambda seen: seen, frame_skip=frame_skip, limit=limit), n_envs)


STATES = {
    "CartPole-v1": lambda seen: tuple(map(float, seen)),
    "MountainCar-v0": lambda seen: tuple(map(float, seen)),
    "Pendulum-v1": lambda seen: np.array([math.atan2(seen[1], seen[0]), seen[2]]),
}


@pytest.mark.parametrize("frame_skip", [1, 3])
@pytest.mark.parametrize(("name", "limit"), [("CartPole-v1", 20), ("MountainCar-v0", 40), ("Pendulum-v1", 5)])
def test_steps_are_gymnasium_s_from_the_same_first_states(name, limit, frame_skip):
    """
    Through terminations, time limits and, for CartPole, both in one step and ends within a frame skip.

    Pendulum's episodes are too short to reach its greatest speed, where EnvPool's moves on unclipped.
    """
    venv = classic(name, 5, limit, frame_skip)
    venv.seed(1)
    singles = [Monitor(envs.FrameSkip(gym.make(name, max_episode_steps=limit), frame_skip)) for _ in range(5)]

    def restart(index: int, seen: np.ndarray) -> None:
        singles[index].reset()
        singles[index].unwrapped.state = STATES[name](seen)

    ends = {"terminated": 0, "truncated": 0, "both": 0}
    for index, seen in enumerate(venv.reset()):
        restart(index, seen)
    venv.action_space.seed(2)
    for _ in range(90):
        actions = np.array([venv.action_space.sample() for _ in singles])
        observations, rewards, dones, infos = venv.step(actions)
        assert rewards.dtype == np.float32 and dones.dtype == bool and observations.dtype == venv.observation_space.dtype
        for index, (single, action) in enumerate(zip(singles, actions, strict=True)):
            expected, reward, terminated, truncated, info = single.step(action)
            assert rewards[index] == pytest.approx(reward, abs=1e-4)
            assert dones[index] == (terminated or truncated)
            assert infos[index]["TimeLimit.truncated"] is bool(truncated and not terminated)
            assert ("terminal_observation" in infos[index]) == ("episode" in infos[index]) == dones[index]
            seen = infos[index]["terminal_observation"] if dones[index] else observations[index]
            np.testing.assert_allclose(seen, expected, atol=1e-4)
            if dones[index]:
                episode, theirs = infos[index]["episode"], info["episode"]
                assert (episode["r"], episode["l"]) == (pytest.approx(theirs["r"], abs=1e-2), theirs["l"])
                assert 0 <= episode["t"] < 60 and set(episode) == set(theirs)
                ends["terminated"] += terminated
                ends["truncated"] += truncated
                ends["both"] += terminated and truncated
                restart(index, observations[index])
    assert (ends["terminated"] > 5 and ends["both"] > 0) if name == "CartPole-v1" else ends["truncated"] >= 10


def rollout(venv, steps: int = 40) -> list[np.ndarray]:
    seen = [venv.reset()]
    for step in range(steps):
        seen += venv.step(np.full(venv.num_envs, step // 3 % 2))[:3]
    return seen


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_seed_is_a_run():
    runs = []
    for seed, threads in ((5, 1), (5, 2), (6, 1)):
        venv = classic("CartPole-v1", 3, 500, num_threads=threads)
        assert venv.seed(seed) == [seed, seed + 1, seed + 2]
        runs.append(rollout(venv))
    assert equal(runs[0], runs[1]) and not equal(runs[0], runs[2])
    assert np.array_equal(runs[0][0][1:], runs[2][0][:-1])  # environment i has the seed that lies i above the first
    assert not equal(rollout(venv), runs[2])  # without a new seed, new episodes
    venv.seed(5)
    assert equal(rollout(venv), runs[0])
    venv.seed(2**32 - 2)  # larger than EnvPool's own seeds
    assert not equal(rollout(venv), runs[0])


@pytest.fixture
def one_no_op_first(monkeypatch):
    """Gymnasium's Atari begins its episodes as EnvPool cannot but begin them."""
    reset = AtariEnv.reset

    def reset_and_wait(self, **keywords):
        info = reset(self, **keywords)[1]
        self.ale.act(0)
        return self._get_obs(), info

    monkeypatch.setattr(AtariEnv, "reset", reset_and_wait)


@pytest.mark.parametrize(
    ("grayscale", "limit", "frame_skip", "tolerance"), [(True, 108_000, 1, 1), (False, 108_000, 2, 0), (False, 402, 1, 0)]
)
@pytest.mark.usefixtures("one_no_op_first")
def test_atari_is_gymnasium_s(grayscale, limit, frame_skip, tolerance, tmp_path: Path):
    """The same pictures, stacks, rewards, ends and files: exact in colour, and within one level in gray."""
    keywords = {
        "size": 40,
        "grayscale": grayscale,
        "frame_stack": 3,
        "frame_skip": frame_skip,
        "env_kwargs": {"repeat_action_probability": 0.0, "max_num_frames_per_episode": limit},
    }
    longer = {**keywords["env_kwargs"], "max_num_frames_per_episode": limit + 1}  # since the no-op counts there
    mine = envs.make_vec_env("ALE/Breakout-v5", 2, 0, vec="envpool", monitor_dir=tmp_path / "mine", **keywords)
    other = envs.make_vec_env(
        "ALE/Breakout-v5", 2, 0, vec="dummy", monitor_dir=tmp_path / "other", **{**keywords, "env_kwargs": longer}
    )
    assert (mine.observation_space, mine.action_space) == (other.observation_space, other.action_space)
    np.testing.assert_allclose(mine.reset().astype(int), other.reset(), atol=tolerance)
    rng = np.random.default_rng(0)
    ends, total = [], 0.0
    for _ in range(120 if limit == 402 else 360 // frame_skip):
        actions = rng.integers(4, size=2)
        seen, expected = mine.step(actions), other.step(actions)
        np.testing.assert_allclose(seen[0].astype(int), expected[0], atol=tolerance)
        np.testing.assert_array_equal(seen[1], expected[1])
        np.testing.assert_array_equal(seen[2], expected[2])
        total += seen[1].sum()
        for done, info, theirs in zip(seen[2], seen[3], expected[3], strict=True):
            assert info["TimeLimit.truncated"] == theirs["TimeLimit.truncated"]
            if done:
                last = theirs["terminal_observation"]
                np.testing.assert_allclose(info["terminal_observation"].astype(int), last, atol=tolerance)
                assert [info["episode"][key] for key in "rl"] == [theirs["episode"][key] for key in "rl"]
                ends.append(info["TimeLimit.truncated"])
    assert total > 0 and len(ends) > 0 and all(end is (limit == 402) for end in ends)
    for venv in (mine, other):
        venv.close()
    files = [[file.read_text().split("\n")[1:] for file in sorted((tmp_path / who).iterdir())] for who in ("mine", "other")]
    rows = [[[row.rpartition(",")[0] for row in file] for file in who] for who in files]
    assert rows[0] == rows[1] and len(rows[0]) == 2 and rows[0][0][0] == "r,l"


@pytest.mark.parametrize(("obs_type", "grayscale"), [("grayscale", True), ("rgb", True), ("rgb", False)])
def test_atari_is_played_as_the_recipes_play_it(obs_type, grayscale):
    """The brighter of two frames and lives as episodes, the same as with Gymnasium's: with one no-op, none is random."""
    own = {"frameskip": 1, "repeat_action_probability": 0.0, "obs_type": obs_type, "noop_max": 1, "max_of_two": True}
    keywords = {"size": 84, "grayscale": grayscale, "frame_skip": 4, "lives_as_episodes": True, "env_kwargs": own}
    mine, other = (envs.make_vec_env("ALE/Breakout-v5", 2, 0, vec=vec, **keywords) for vec in ("envpool", "dummy"))
    assert (mine.observation_space, mine.action_space) == (other.observation_space, other.action_space)
    np.testing.assert_array_equal(mine.reset(), other.reset())
    rng = np.random.default_rng(0)
    lost = games = 0
    for _ in range(300):
        actions = rng.integers(4, size=2)
        seen, expected = mine.step(actions), other.step(actions)
        for index in range(3):
            np.testing.assert_array_equal(seen[index], expected[index])
        for info, theirs in zip(seen[3], expected[3], strict=True):
            assert info["lives"] == theirs["lives"]
            for key in ("terminal_observation", "episode"):
                assert (key in info) == (key in theirs)
            if "episode" in info:  # within a frame skip: Stable-Baselines3's wrapper shows an older frame then
                games += 1
            elif "terminal_observation" in info:
                np.testing.assert_array_equal(info["terminal_observation"], theirs["terminal_observation"])
                lost += 1
    assert games > 0 and lost >= 4 * games


@pytest.mark.parametrize(("noop_max", "most"), [(30, 30), (3, 3), (0, 1)])
def test_no_ops_are_drawn_from_one_on(noop_max, most):
    """How many there were is read from the game's memory."""
    game = gym.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0).unwrapped
    game.reset()
    memories = [game.ale.getRAM().tobytes()]
    for _ in range(most + 1):
        game.step(0)
        memories.append(game.ale.getRAM().tobytes())
    assert len(set(memories)) == len(memories)
    task = envs.make_vec_env("ALE/Pong-v5", 12, vec="envpool", size=8, env_kwargs={"noop_max": noop_max}).unwrapped.task
    seen = task.make(list(range(12))).reset(np.arange(12, dtype=np.int32))[1]["ram"]
    drawn = {memories.index(memory.tobytes()) for memory in seen}
    assert drawn <= set(range(1, most + 1)) and len(drawn) >= min(most, 6)


def test_atari_s_keywords_arrive():
    """Sticky actions, the whole set of actions, and a frame skip of one: by the id, or by the keywords."""
    task = "ALE/Pong-v5"
    for env_id, keywords, actions in (
        (task, {}, 6),
        ("PongNoFrameskip-v4", {}, 6),
        (task, {"full_action_space": True, "repeat_action_probability": 0.5, "frameskip": 2}, 18),
    ):
        venv = envs.make_vec_env(env_id, 1, 0, vec="envpool", size=20, env_kwargs=keywords).unwrapped
        expected = {**gym.spec(env_id).kwargs, **keywords}
        venv.reset()
        assert venv.task.frame_skip == expected["frameskip"] and venv.action_space == spaces.Discrete(actions)
        config = venv.pool.config
        assert config["repeat_action_probability"] == pytest.approx(expected["repeat_action_probability"])
        assert (venv.task.limit, config["frame_skip"]) == (108_000, 1)


def test_car_racing_s_frame_skip():
    """Four steps at once are four steps, and the picture is the last one."""
    one = envs.make_vec_env("CarRacing-v2", 2, 4, vec="envpool", frame_skip=1, frame_stack=1, size=32)
    four = envs.make_vec_env("CarRacing-v2", 2, 4, vec="envpool", frame_stack=1, size=32)
    np.testing.assert_array_equal(one.reset(), four.reset())
    for step in range(12):
        action = np.array([[0.1 * step - 0.5, 0.8, 0.0]] * 2, np.float32)
        singles = [one.step(action) for _ in range(4)]
        observations, rewards, _, _ = four.step(action)
        np.testing.assert_array_equal(observations, singles[-1][0])
        np.testing.assert_allclose(rewards, sum(single[1].astype(float) for single in singles), atol=1e-4)


@pytest.mark.parametrize(("env_id", "truncates"), [("CarRacing-v2", True), ("CarRacing-v3", False)])
def test_a_finished_lap_ends_as_the_id_says(env_id, truncates):
    """With this keyword a lap is finished as soon as it is begun, so both finish it in their first step."""
    for vec in ("envpool", "dummy"):
        venv = envs.make_vec_env(env_id, 1, 0, vec=vec, size=32, env_kwargs={"lap_complete_percent": 0.0})
        venv.reset()
        for _ in range(5):
            _, _, dones, infos = venv.step(np.array([[0, 1, 0]], np.float32))
            if dones[0]:
                break
        assert dones[0] and infos[0]["TimeLimit.truncated"] is truncates


def test_car_racing_drives_as_the_stock_car_does():
    """Straight on, not too fast: as many steps to the edge of the playfield, and there -100 and a termination."""
    lengths = {}
    for vec in ("envpool", "dummy"):
        venv = envs.make_vec_env("CarRacing-v2", 4, 0, vec=vec, frame_skip=1, frame_stack=1, size=8)
        venv.reset()
        ended: list[int] = []
        while len(ended) < 4:
            _, rewards, dones, infos = venv.step(np.array([[0, 0.3, 0]] * 4, np.float32))
            for index in np.flatnonzero(dones):
                assert rewards[index] == -100 and not infos[index]["TimeLimit.truncated"]
                ended.append(infos[index]["episode"]["l"])
        lengths[vec] = np.median(ended)
    assert lengths["envpool"] == pytest.approx(lengths["dummy"], abs=2)


def test_car_racing_s_discrete_actions_are_gymnasium_s():
    theirs = gym.make("CarRacing-v3", continuous=False)
    mine = DiscreteActions(gym.make("CarRacing-v3"), ACTION_TABLES["drive5"])
    for env in (theirs, mine):
        env.reset(seed=3)
    for action in (3, 3, 1, 3, 2, 4, 0):
        np.testing.assert_array_equal(theirs.step(action)[0], mine.step(action)[0])
    venv = envs.make_vec_env("CarRacing-v2", 1, 0, vec="envpool", actions="discrete", size=32)
    assert venv.action_space == spaces.Discrete(5) and venv.unwrapped.task.act(1).tolist() == pytest.approx([0.6, 0, 0])


def test_returns_are_raw_where_rewards_are_scaled():
    venv = ScaledReward(
        envs.make_vec_env("CarRacing-v2", 2, 0, vec="envpool", size=8, env_kwargs={"max_episode_steps": 22}), 0.5
    )
    venv.reset()
    steps = [
        venv.step(np.array([[0, 1, 0]] * 2, np.float32)) for _ in range(6)
    ]  # 22 steps are five agent steps of 4 and one of 2
    assert [step[2].all() for step in steps] == [False] * 5 + [True]
    for index, info in enumerate(steps[-1][3]):
        assert info["TimeLimit.truncated"] and info["episode"]["l"] == 6
        assert info["episode"]["r"] == pytest.approx(2 * sum(step[1][index] for step in steps), abs=1e-3)


def test_algorithms_take_it_for_their_own():
    venv = envs.make_vec_env("CarRacing-v2", 2, 0, vec="envpool", size=36, env_kwargs={"max_episode_steps": 24})
    model = A2C("CnnPolicy", venv, n_steps=4, seed=1).learn(48)
    assert [episode["l"] for episode in model.ep_info_buffer] == [6] * 8
    returns, lengths = evaluate_policy(model, venv, n_eval_episodes=2, return_episode_rewards=True)  # no warning of a Monitor
    assert lengths == [6, 6] and all(math.isfinite(total) for total in returns)
    assert venv.get_attr("render_mode") == [None, None] and not venv.has_attr("action_masks")
    for call in (lambda: venv.set_attr("speed", 1), lambda: venv.env_method("jump")):
        with pytest.raises(AttributeError, match="live in C"):
            call()


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "CarRacing-v2"])
def test_auto_never_takes_it(env_id):
    for n_envs in (1, 2):
        venv = envs.make_vec_env(env_id, n_envs, size=8)
        assert isinstance(venv.unwrapped, (DummyVecEnv, SubprocVecEnv))
        venv.close()


@pytest.mark.parametrize(
    ("env_id", "keywords", "message"),
    [
        ("CarRacingFast-v2", {}, r"vec='envpool' has no environment 'CarRacingFast-v2'; it has .*CarRacing-v2.*vec='dummy'"),
        ("Poing-v5", {}, "it has Pong-v5"),
        ("Nothing/Alike-v0", {}, "'Nothing/Alike-v0'; vec='dummy'"),
        ("CartPole-v1", {"pixels": True}, "CartPole-v1 observes no image, and vec='envpool' renders none; .*--pixels"),
        ("MiniGrid-Empty-5x5-v0", {}, "observes a Dict, which vec='envpool' does not offer; vec='dummy'"),
        ("CarRacing-v2", {"render": "stock"}, "draws CarRacing its own way.*vec='dummy' and vec='subproc'"),
        ("CarRacing-v2", {"render_mode": "rgb_array"}, "renders nothing"),
        ("CarRacing-v2", {"env_kwargs": {"domain_randomize": True}}, "takes no option 'domain_randomize'; it takes lap_com"),
        ("CarRacing-v2", {"env_kwargs": {"max_episode_steps": "many"}}, "cannot be made with the options"),
        ("CarRacing-v2", {"frame_skip": 0}, "frame_skip must be 1 or more, not 0"),
        ("CarRacing-v2", {"actions": "sideways"}, "The action set 'sideways' is unknown"),
        ("Pong-v4", {}, r"fixed number of frames, 1 or more, and Pong-v4 skips \(2, 5\)"),
        ("ALE/Pong-v5", {"env_kwargs": {"max_of_two": True}}, "frameskip must be 1 beside it, and is 4"),
        ("ALE/Pong-v5", {"env_kwargs": {"obs_type": "ram"}}, "obs_type is 'rgb' or 'grayscale' there, and not 'ram'"),
        ("ALE/Pong-v5", {"env_kwargs": {"use_fire_reset": True}}, "takes no option 'use_fire_reset'"),
        ("ALE/Pong-v5", {"env_kwargs": {"max_episode_steps": 9}}, "limit is max_num_frames_per_episode"),
        ("ALE/Pong-v5", {"actions": "continuous"}, "does not fit the environment's action space"),
    ],
)
def test_what_it_does_not_offer(env_id, keywords, message):
    with pytest.raises(ValueError, match=message) as refusal:
        envs.make_vec_env(env_id, 2, vec="envpool", **keywords)
    assert str(refusal.value).endswith(".") and "\n" not in str(refusal.value)


def test_without_the_package(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setitem(sys.modules, "envpool", None)
    line = ["--env", "CarRacing-v2", "--vec", "envpool", "--timesteps", "50", "--log-dir", str(tmp_path)]
    assert train_agent.main(line) == 2
    said = capsys.readouterr()
    assert said.err == (
        "train_agent.py: vec='envpool' needs the package envpool; pip install -e '.[envpool]' brings it, "
        "and vec='dummy' and vec='subproc' do without.\n"
    )
    assert said.out == "" and not list(tmp_path.iterdir())
