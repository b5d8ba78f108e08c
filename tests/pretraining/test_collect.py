"""Recording: what an environment showed is what the data set holds, whoever acted."""

import re
import zipfile
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from cpc_rl import cli
from cpc_rl.named_environment import make_environment
from cpc_rl.pretraining import MinariEpisodes
from cpc_rl.pretraining.cli_pretrain import keywords
from cpc_rl.pretraining.collect import collect
from cpc_rl.pretraining.extractor_choice import EXTRACTORS
from cpc_rl.pretraining.policies import RandomPolicy, TrainedPolicy, make_policy
from tests.pretraining.toy import Rolling, rolling_data

FACTORY = "tests.pretraining.toy:make"


def test_a_minari_that_stores_with_losses_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.dataset.minari_storage.MinariStorage.new", lambda data_path, data_format="hdf5": None)
    env = Rolling()
    with pytest.raises(ValueError, match=r"minari>=0.5.4"):
        collect(env, RandomPolicy(env.action_space), steps=3, out=tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_the_same_seed_records_the_same(tmp_path: Path) -> None:
    first, again = (MinariEpisodes(rolling_data(tmp_path / name, steps=20)) for name in "ab")
    env = Rolling()
    other = MinariEpisodes(collect(env, RandomPolicy(env.action_space), steps=20, out=tmp_path / "c", seed=1).folder)
    assert first.lengths.tolist() == [8, 8, 7]
    for episode in range(3):
        one, two, three = (data.read(episode, 0, 7) for data in (first, again, other))
        assert np.array_equal(one.observations, two.observations) and np.array_equal(one.actions, two.actions)
        assert not np.array_equal(one.observations, three.observations)


def test_minari_loads_it_under_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = Rolling()
    collect(env, RandomPolicy(env.action_space), steps=10, out="minari:toy/rolling-v0", infos=True)
    data = minari.load_dataset("toy/rolling-v0")
    assert data.total_steps == 10 and data.total_episodes == 2
    episodes = list(data)
    assert [e.infos["steps"].tolist() for e in episodes] == [list(range(8)), list(range(4))]
    assert [e.terminations.tolist()[-1] for e in episodes] == [True, False]
    assert [e.truncations.tolist()[-1] for e in episodes] == [False, True]  # cut where the steps are used up
    assert episodes[0].observations.shape == (8, 36, 36, 1)


@pytest.mark.parametrize("variable", [False, True])
def test_a_place_in_the_working_directory(variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", "data")
    env = Rolling()
    out = "minari:rolling-v0" if variable else "data/rolling-v0"
    collected = collect(env, RandomPolicy(env.action_space), steps=10, out=out)
    assert collected.folder == tmp_path / "data" / "rolling-v0"
    assert MinariEpisodes(Path("data/rolling-v0")).lengths.tolist() == [8, 4]
    assert [item.name for item in (tmp_path / "data").iterdir()] == ["rolling-v0"]


def test_a_model_of_stacks_sees_stacks_and_single_frames_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PPO("CnnPolicy", VecFrameStack(DummyVecEnv([Rolling]), 3), n_steps=8, batch_size=8, device="cpu")
    policy, env = TrainedPolicy(model, Rolling.observation_space), Rolling()
    shown = []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda seen, **keywords: shown.append(seen) or predict(seen, **keywords))
    data = MinariEpisodes(collect(env, policy, steps=10, out=tmp_path / "data").folder)
    single = np.concatenate([data.read(episode, 0, length).observations[:, 0] for episode, length in ((0, 7), (1, 3))])
    assert single.shape == (10, 36, 36) and len(shown) == 10
    for number, stack in enumerate(shown):
        step = number % 7
        for back in range(3):  # zeros before an episode's first frame
            assert (stack[..., 2 - back] == (single[number - back] if back <= step else 0)).all()
    for other in (spaces.Box(0, 255, (40, 40, 1), np.uint8), spaces.Box(0, 255, (36, 36, 1), np.float32)):
        with pytest.raises(ValueError, match="model takes observations of"):
            TrainedPolicy(model, other)


def test_a_trained_model_acts(tmp_path: Path) -> None:
    model = PPO("CnnPolicy", Rolling(), n_steps=8, batch_size=8, device="cpu")
    model.policy.action_net.bias.data[2] = 1000.0
    model.save(tmp_path / "model.zip")
    env = make_environment("any", FACTORY)
    policy = make_policy(str(tmp_path / "model.zip"), "ppo", env)
    actions = MinariEpisodes(collect(env, policy, steps=7, out=tmp_path / "data").folder).read(0, 0, 8).actions
    assert (actions.argmax(axis=1) == 2).all() and actions.shape == (7, 4)
    with pytest.raises(ValueError, match="name it, as in --algo ppo"):
        make_policy(str(tmp_path / "model.zip"), None, env)
    for other in ("dqn", "ars"):
        with pytest.raises(ValueError, match=rf"cannot be read as a model of {other.upper()} .*another algorithm's"):
            make_policy(str(tmp_path / "model.zip"), other, env)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a.txt", "no model")
    with pytest.raises(ValueError, match=r"other\.zip cannot be read as a model of PPO"):
        make_policy(str(tmp_path / "other.zip"), "ppo", env)
    with pytest.raises(ValueError, match="There is no algorithm 'pop'"):
        make_policy(str(tmp_path / "model.zip"), "pop", env)
    stacked = gymnasium.wrappers.TransformObservation(Rolling(), lambda x: x[:, :, 0], spaces.Box(0, 255, (36, 36), np.uint8))
    with pytest.raises(ValueError, match="by an environment factory"):
        make_policy(str(tmp_path / "model.zip"), "ppo", stacked)


def test_continuous_actions_and_dicts(tmp_path: Path) -> None:
    class Cart(gymnasium.Env):
        action_space = spaces.Box(-2, 4, (2,), np.float32)
        observation_space = spaces.Dict({"eye": spaces.Box(0, 255, (36, 40, 3), np.uint8), "speed": spaces.Box(-1, 1, (1,))})

        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[dict, dict]:
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
            return self.observation_space.sample(), float(action[0]), False, False, {}

    env = Cart()
    data = MinariEpisodes(collect(env, RandomPolicy(env.action_space), steps=6, out=tmp_path / "data").folder)
    segment = data.read(0, 0, 7)
    assert isinstance(segment.observations, dict) and segment.observations["eye"].shape == (7, 3, 36, 40)
    assert set(segment.observations) == {"eye"}
    assert np.allclose(segment.actions[:, 0], (segment.rewards - 1) / 3, atol=1e-6)  # -2 .. 4 to -1 .. 1


class Camera(gymnasium.Env):
    """A Dict of an image, a vector and a text."""

    observation_space = spaces.Dict(
        {"eye": spaces.Box(0, 255, (36, 40, 3), np.uint8), "speed": spaces.Box(-1, 1, (2,)), "mission": spaces.Text(9)}
    )
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}


class Seen(gymnasium.ObservationWrapper):
    """The camera's numbers."""

    def __init__(self) -> None:
        super().__init__(Camera())
        self.observation_space = spaces.Dict({key: Camera.observation_space[key] for key in ("eye", "speed")})

    def observation(self, observation: dict) -> dict:
        return {key: observation[key] for key in ("eye", "speed")}


def test_a_model_of_dict_observations_acts_though_its_images_are_turned(tmp_path: Path) -> None:
    env = Seen()
    model = PPO("MultiInputPolicy", env, n_steps=4, batch_size=4, device="cpu")
    assert model.observation_space["eye"].shape == (3, 36, 40)  # type: ignore[index]
    model.save(tmp_path / "model.zip")
    done = collect(env, make_policy(str(tmp_path / "model.zip"), "ppo", env), steps=5, out=tmp_path / "data")
    assert MinariEpisodes(done.folder).lengths.tolist() == [6] and done.left_out == ()


def test_texts_are_left_out_and_named(tmp_path: Path) -> None:
    env = Camera()
    done = collect(env, RandomPolicy(env.action_space), steps=5, out=tmp_path / "data")
    assert done.left_out == ("mission",)
    data = MinariEpisodes(done.folder)
    assert data.observation_space == spaces.Dict({"eye": spaces.Box(0, 255, (3, 36, 40), np.uint8)})
    with h5py.File(data.file) as file:
        assert set(file["episode_0"]["observations"]) == {"eye", "speed"}
    env.action_space = spaces.Text(3)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="actions are not numbers"):
        collect(env, RandomPolicy(env.action_space), steps=5, out=tmp_path / "other")


def test_an_environment_without_images_is_refused_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["collect", "--env", "CartPole-v1", "--steps", "10", "--out", str(tmp_path / "data")]) == 2
    error = capfd.readouterr().err
    assert error.startswith("cpc-rl: The observations are Box(") and error.count("\n") == 1
    assert "but pre-training needs images: a Box of shape (H, W)" in error and "--env-factory" in error
    env = gymnasium.make("CartPole-v1")
    env.observation_space = spaces.Dict({"speed": spaces.Box(-1, 1, (2,)), "mission": spaces.Text(9)})
    with pytest.raises(ValueError, match="but pre-training needs images"):
        collect(env, RandomPolicy(env.action_space), steps=5, out=tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_is_registered_by_its_class_is_recorded(tmp_path: Path) -> None:
    gymnasium.register("RollingByClass-v0", Rolling)
    try:
        env = make_environment("RollingByClass-v0")
        assert collect(env, RandomPolicy(env.action_space), steps=9, out=tmp_path / "data").episodes == 2
    finally:
        gymnasium.registry.pop("RollingByClass-v0")


def test_jpeg_of_other_images_than_grey_and_rgb_is_refused(tmp_path: Path) -> None:
    env = Rolling()
    with pytest.raises(ValueError, match=r"shape \(H, W\) or \(H, W, 3\), but the environment's have \(36, 36, 1\)"):
        collect(env, RandomPolicy(env.action_space), steps=5, out=tmp_path / "data", jpeg=True)
    assert list(tmp_path.iterdir()) == []


class Reusing(gymnasium.Env):
    """Gives the same arrays at every step, with the step's number in them."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Dict({"eye": spaces.Box(0, 255, (36, 36, 1), np.uint8)})

    def __init__(self) -> None:
        self.seen, self.told = {"eye": np.zeros((36, 36, 1), np.uint8)}, {"at": np.zeros(2)}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.seen["eye"][:], self.told["at"][:] = 0, 0
        return self.seen, self.told

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        self.seen["eye"] += 1
        self.told["at"] += 1
        return self.seen, 0.0, False, False, self.told


def test_arrays_that_an_environment_uses_again_are_stored_as_they_were(tmp_path: Path) -> None:
    env = Reusing()
    folder = collect(env, RandomPolicy(env.action_space), steps=5, out=tmp_path / "data", infos=True).folder
    read = MinariEpisodes(folder).read(0, 0, 6).observations
    assert isinstance(read, dict) and read["eye"].mean(axis=(1, 2, 3)).tolist() == [0, 1, 2, 3, 4, 5]
    with h5py.File(folder / "data" / "main_data.hdf5") as file:
        assert file["episode_0"]["infos"]["at"][:, 1].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_recording_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Rolling):
        def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
            if self.steps == 5:
                raise RuntimeError("the simulator broke")
            return super().step(action)

    env = Broken()
    with pytest.raises(RuntimeError, match="the simulator broke"):
        collect(env, RandomPolicy(env.action_space), steps=10, out=tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="There is something at"):
        collect(env, RandomPolicy(env.action_space), steps=10, out=tmp_path / "data")


def test_the_command_line_collects_and_pretrains(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, out = str(tmp_path / "data"), str(tmp_path / "run")
    assert cli.main(["collect", "--env", "any", "--env-factory", FACTORY, "--steps", "30", "--out", data]) == 0
    settings = ["--steps", "2", "--batch-size", "4", "--warmup", "0", "--workers", "0", "--device", "cpu"]
    options = ["--objective", "curl=1,spr=0.5", "--set", "spr.horizon=2", "--extractor-set", "features_dim=16"]
    assert cli.main(["pretrain", "--data", data, "--out", out, *settings, *options]) == 0
    printed = capfd.readouterr().out
    assert f"30 steps in 5 episodes: {data}" in printed and f"encoder: {out}/encoder.safetensors" in printed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["collect", "--env", "Nowhere-v0", "--out", "x"], "There is no environment 'Nowhere-v0'"),
        (["collect", "--env", "a", "--env-factory", "nowhere:make", "--out", "x"], "must be 'module:function'"),
        (["collect", "--env", "a", "--env-factory", FACTORY, "--policy", "m.zip", "--out", "x"], "there is no such file"),
        (["collect", "--env", "a", "--env-factory", FACTORY, "--seed", "-1", "--out", "x"], "seed is -1"),
        (["pretrain", "--data", "/nowhere", "--out", "x"], "There is no data at /nowhere"),
        (["pretrain", "--data", "a", "--out", "x", "--set", "horizon=3", "--set=temperature=1"], "--set is given twice"),
        (
            ["collect", "--env", "a", "--out", "x", "--env-factory", "a:b", "--env_factory", "c:d"],
            "--env-factory is given twice",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    error = capfd.readouterr().err
    assert text in error and error.startswith("cpc-rl: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--extractor-set", "nosuch=3", "NatureExtractor cannot be made with {'nosuch': 3}"),
        ("--extractor-set", "features_dim=abc", "NatureExtractor cannot be made with {'features_dim': 'abc'}"),
        ("--extractor-set", "features_dim=-1", "NatureExtractor cannot be made with {'features_dim': -1}"),
        ("--set", "horizon=abc", "horizon of the objective 'cpc' is 'abc', a text, but it must"),
        ("--set", "horizon=2.5", "horizon of the objective 'cpc' is 2.5, but it must be a whole"),
        ("--device", "foo", "device is foo, but torch cannot compute there"),
        ("--device", "meta", "device is meta, but torch cannot compute there"),
    ],
)
def test_a_mistake_in_a_setting_is_a_sentence(
    option: str, value: str, text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = rolling_data(tmp_path, steps=20)
    settings = ["--steps", "2", "--batch-size", "4", "--workers", "0", option, value]
    assert cli.main(["pretrain", "--data", str(data), "--out", str(tmp_path / "run"), *settings]) == 2
    error = capfd.readouterr().err
    assert error.startswith("cpc-rl: ") and text in error and "Traceback" not in error


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = rolling_data(tmp_path / "data", steps=20)
    (tmp_path / "file").write_text("x")
    collecting = ["collect", "--env", "any", "--env-factory", FACTORY, "--steps", "5"]
    pretraining = ["pretrain", "--data", str(data), "--steps", "2", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
    for command in (collecting, pretraining):
        capfd.readouterr()
        assert cli.main([*command, "--out", str(tmp_path / "file" / "run")]) == 2
        error = capfd.readouterr().err
        assert error.startswith(f"cpc-rl: {tmp_path / 'file'}") and error.count("\n") == 1
        assert re.search(r"cannot be read or written \((Not a directory|File exists)\): choose another place", error)
    assert (tmp_path / "file").read_text() == "x"


def test_keywords_from_text() -> None:
    given = ["horizon=3", "augment=None", "negatives={'source': 'queue'}", "estimator=nwj", "spr.horizon=2"]
    wanted = {"horizon": 3, "augment": None, "negatives": {"source": "queue"}, "estimator": "nwj", "spr": {"horizon": 2}}
    assert keywords(given) == wanted
    words = {"a": "true", "b": "False", "c": "NONE", "d": "null", "e": "TRUE", "f": "'false'", "g": "nonesuch"}
    read = keywords([f"{name}={text}" for name, text in words.items()])
    assert read == {"a": True, "b": False, "c": None, "d": None, "e": True, "f": "false", "g": "nonesuch"}
    with pytest.raises(ValueError, match="NAME=VALUE"):
        keywords(["horizon"])
    assert keywords(["x={[1]: 2}"]) == {"x": "{[1]: 2}"}  # no dict that Python could make
    with pytest.raises(ValueError, match=r"^'spr.horizon=3' is a keyword within spr, but spr is given as 4 before it.$"):
        keywords(["spr=4", "spr.horizon=3"])


def test_the_help_names_every_extractor(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["pretrain", "--help"])
    words = set(re.findall(r"\w+", capfd.readouterr().out))
    assert len(EXTRACTORS) == 5 and set(EXTRACTORS) <= words


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModuleNotFoundError("No module named 'minari'", name="minari"), "needs the package minari, which is not installed"),
        (
            ImportError("libx.so: no such file", name="cv2"),
            "needs the package cv2, which cannot be imported (libx.so",
        ),
        (ImportError("cannot import name 'x'", name="cpc_rl.windows"), None),
        (ModuleNotFoundError("No module named 'cpc_rl.nothing'", name="cpc_rl.nothing"), None),
        (ImportError("of no module"), None),
    ],
)
def test_a_fault_of_our_own_modules_is_no_missing_package(
    error: ImportError, text: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> None:
        raise error

    monkeypatch.setattr(cli, "import_module", broken)
    if text is None:
        with pytest.raises(ImportError) as info:
            cli.main(["report"])
        assert info.value is error
    else:
        assert cli.main(["report"]) == 2 and text in capfd.readouterr().err


def test_every_command_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capfd.readouterr().out
    assert all(f"  {name} " in printed for name in cli.COMMANDS)
    assert cli.main([]) == 2 and cli.main(["teach"]) == 2
    assert "there is no command 'teach'; there are collect, pretrain, probe, look, report" in capfd.readouterr().err
    for command in cli.COMMANDS.values():
        module = import_module(command.module)
        assert is_dataclass(getattr(module, command.arguments)) and callable(module.run)
