"""Probes as a whole: on features whose content is known, on an environment, beside a training, and from the command line."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpc_rl import encode
from cpc_rl.diagnostics.atari_ram import ram_categories, ram_labels, ram_variables
from cpc_rl.diagnostics.features import as_normalised
from cpc_rl.diagnostics.probe import probe
from cpc_rl.diagnostics.probe_callback import ProbeCallback
from cpc_rl.diagnostics.probe_report import ProbeReport, VariableScore, merged
from cpc_rl.diagnostics.recording import record
from tests.algorithms import make_model, same_parameters
from tests.stamped_env import StampedEnv


def known(frames=600, seed=0):
    """Features of eight numbers, and variables that they hold, or not."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(frames, 8)).astype(np.float32)
    labels = {
        "place": np.digitize(features[:, 0], [-0.5, 0.5]),
        "speed": features[:, 1] * 3 + 100 + rng.normal(size=frames) * 0.3,
        "unseen": rng.integers(0, 3, frames),
        "unseen_speed": rng.normal(size=frames),
        "rare": (np.arange(frames) < 20).astype(np.int64),
        "still": np.full(frames, 2.5),
    }
    return features, labels, np.repeat(np.arange(20), frames // 20)


def scores(report):
    return {v.name: v for v in report.variables}


@pytest.mark.parametrize("standardise", [True, False])
def test_probes_find_what_the_features_hold_and_nothing_else(standardise):
    features, labels, episodes = known()
    settings = {"learning_rate": 0.01, "epochs": 30, "standardise": standardise}
    report = probe(features, labels, episodes, categories={"place": ("a", "b"), "unseen": ("a",)}, **settings)
    found = scores(report)
    assert found["place"].score > 0.85 > 0.6 > found["place"].baseline
    assert found["place"].measure == "F1" and found["place"].classes == 3
    assert found["speed"].score == pytest.approx(9 / (9 + 0.09), abs=0.02) and found["speed"].measure == "R2"
    assert abs(found["unseen"].score - found["unseen"].baseline) < 0.12 and abs(found["unseen_speed"].score) < 0.15
    assert set(report.dropped) == {"rare", "still"} and "entropy" in report.dropped["rare"]
    assert report.frames == {"train": 420, "validation": 60, "test": 120}
    assert report.category_means() == {
        "a": pytest.approx((found["place"].score + found["unseen"].score) / 2),
        "b": pytest.approx(found["place"].score),
    }
    assert report.mean() == pytest.approx((report.category_means()["a"] + report.category_means()["b"]) / 2)
    again = probe(features, labels, episodes, categories={"place": ("a", "b"), "unseen": ("a",)}, **settings)
    assert again == report
    assert "| place | a, b | F1 |" in report.table() and json.loads(json.dumps(report.as_dict()))["mean"]["continuous"]


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_noise_scores_about_what_a_guess_without_features_does(classes):
    rng = np.random.default_rng(0)
    noise, labels = rng.normal(size=(3000, 64)), rng.integers(0, classes, 3000)
    (found,) = probe(noise, {"y": labels}, np.repeat(np.arange(30), 100), epochs=20).variables
    assert found.score == pytest.approx(found.baseline, abs=0.04) and found.majority < 0.7 * found.baseline


def test_reports_side_by_side_have_the_guess_without_features_and_what_was_left_out():
    features, labels, episodes = known()
    reports = {name: probe(features * n, labels, episodes, epochs=1) for n, name in enumerate(("untrained", "trained"))}
    lines = merged(reports).splitlines()
    assert lines[:2] == ["| variable | untrained | trained | without features | measure |", "|---|---|---|---|---|"]
    before, after = (scores(reports[name])["place"] for name in ("untrained", "trained"))
    assert lines[2] == f"| place | {before.score:.3f} | {after.score:.3f} | {after.baseline:.3f} | F1 |"
    assert [line for line in lines if line.startswith("Left")] == [
        f"Left out: {name}, {why}." for name, why in reports["trained"].dropped.items()
    ]


def test_shallow_probes_find_what_is_not_linear_in_the_features():
    features, _, episodes = known(1200)
    labels = {
        "product": (features[:, 0] * features[:, 1]).astype(np.float64),
        "sign": (features[:, :2].prod(1) > 0).astype(int),
    }
    flat = scores(probe(features, labels, episodes, learning_rate=0.01))
    deep = scores(probe(features, labels, episodes, hidden_dim=64, learning_rate=0.01))
    assert flat["product"].score < 0.1 and deep["product"].score > 0.7
    assert flat["sign"].score < 0.65 and deep["sign"].score > 0.8
    assert flat["product"].epoch is None and deep["product"].epoch >= 1


def test_features_without_content_give_the_baseline():
    _, labels, episodes = known()
    found = scores(probe(np.ones((600, 4)), labels, episodes, epochs=3))
    assert found["place"].score == found["place"].majority < found["place"].baseline
    assert found["speed"].score == pytest.approx(found["speed"].baseline, abs=1e-6)


def test_fewer_training_frames_than_features_are_remarked_on():
    features, labels, episodes = known()
    wide = np.concatenate([features, np.random.default_rng(1).normal(size=(600, 413)).astype(np.float32)], axis=1)
    said = {}
    for width in (420, 421):
        report = probe(wide[:, :width], {"speed": labels["speed"]}, episodes)
        assert report.frames["train"] == 420 and report.as_dict()["remarks"] == report.remarks
        assert report.table().count("Few frames") == len(report.remarks)
        assert merged({"trained": report, "untrained": report}).count("Few frames") == len(report.remarks)
        said[width] = report.remarks
    assert said[420] == [] and [remark.partition(",")[0] for remark in said[421]] == ["Few frames: 420 to learn from"]


def test_classes_that_only_the_test_shows_count_as_wrong():
    features, labels, episodes = known()
    train = probe(features, {"place": labels["place"]}, episodes, learning_rate=0.01)
    (before,) = train.variables
    from cpc_rl.diagnostics.splits import split_episodes

    test = np.flatnonzero(split_episodes(episodes).test)
    changed = labels["place"].copy()
    changed[test[:60]] = 9
    (after,) = probe(features, {"place": changed}, episodes, learning_rate=0.01).variables
    assert after.classes == 3 and after.accuracy == pytest.approx(before.accuracy / 2, abs=0.06)


def test_what_makes_no_sense_is_said():
    features, labels, episodes = known()
    with pytest.raises(ValueError, match=r"'place' has the shape \(5,\)"):
        probe(features, {"place": labels["place"][:5]}, episodes)
    with pytest.raises(ValueError, match="must be a matrix"):
        probe(features[:, :, None], labels, episodes)
    with pytest.raises(ValueError, match="No variable is left to probe: still, it does not vary"):
        probe(features, {"still": labels["still"]}, episodes)
    with pytest.raises(ValueError, match="Every test frame is in training"):
        probe(features, labels, episodes, fingerprints=np.zeros(600))


def test_one_number_that_is_none_is_said_and_does_not_change_the_other_scores():
    features, labels, episodes = known()
    labels = {name: labels[name] for name in ("place", "speed")}
    clean = probe(features, labels, episodes, epochs=3)
    for frame, wrong in ((0, np.nan), (599, np.inf)):
        holed = {**labels, "hole": labels["speed"].copy(), "kind": labels["place"].astype(float)}
        holed["hole"][frame] = holed["kind"][frame] = wrong
        report = probe(features, holed, episodes, epochs=3, kinds={"kind": "categorical", "place": "categorical"})
        assert report.variables == clean.variables
        why = "it is NaN or infinite in 1 of 600 frames"
        assert report.dropped == {"hole": why, "kind": why} and f"Left out: hole, {why}." in report.table()
        with pytest.raises(ValueError, match="No variable is left to probe: hole, it is NaN"):
            probe(features, {"hole": holed["hole"]}, episodes)
        broken = features.copy()
        broken[frame, 3] = wrong
        with pytest.raises(ValueError, match="features of 1 of 600 frames are NaN or infinite"):
            probe(broken, labels, episodes)


def test_words_are_labels_too():
    features, labels, episodes = known()
    words = np.array(["left", "middle", "right"])[labels["place"]]
    (by_word,), (by_number,) = (probe(features, {"y": y}, episodes, epochs=3).variables for y in (words, labels["place"]))
    assert by_word == by_number


def test_ram_labels_read_the_published_bytes():
    pong = ram_variables("pong")
    assert pong["ball_x"] == 49 and pong["player_score"] == 14 and len(pong) == 8
    assert ram_variables("ms_pacman") == ram_variables("MsPacman")
    assert ram_variables("breakout")["block_bit_map_29"] == 29
    assert ram_labels(np.arange(128, dtype=np.uint8), {"a": 3, "b": 127}) == {"a": 3, "b": 127}
    games = {"asteroids", "boxing", "freeway", "qbert", "seaquest", "spaceinvaders", "tennis"}
    assert all(0 <= byte < 128 for game in games for byte in ram_variables(game).values())
    with pytest.raises(ValueError, match="no RAM labels for 'doom'"):
        ram_variables("doom")


def test_categories_are_the_papers():
    expected = {
        "ball_x": "small object localisation",
        "player_missile_y1": "small object localisation",
        "player_y": "agent localisation",
        "player_column": "agent localisation",
        "enemy_car_x_3": "other localisation",
        "num_lives": "score, clock, lives, display",
        "fuel_meter_high": "score, clock, lives, display",
        "player_direction": "misc",
        "block_bit_map_4": "misc",
        "current_room": "misc",
    }
    assert {name: ram_categories(name) for name in expected} == {name: (group,) for name, group in expected.items()}
    assert ram_categories("num_lives_direction") == ("score, clock, lives, display", "misc")
    assert ram_categories("compass_needles_angle") == ()


class Seen(gym.Env):
    """A bright square at a place, which the state knows and the info tells from the first step on."""

    def __init__(self):
        self.observation_space = spaces.Box(0, 255, (36, 36, 3), np.uint8)
        self.action_space = spaces.Discrete(5)

    def _observation(self):
        image = np.zeros((36, 36, 3), np.uint8)
        x, y = self.state.astype(int)
        image[y * 6 : y * 6 + 6, x * 6 : x * 6 + 6] = 255
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.count = self.np_random.integers(0, 6, 2).astype(float), 0
        np.random.rand()  # an environment that draws from the global generator, as some do
        return self._observation(), {}

    def step(self, action):
        self.state = np.clip(self.state + [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)][int(action)], 0, 5)
        self.count += 1
        return self._observation(), 0.0, self.count == 15, False, {"cell": int(self.state @ [1, 6])}


def test_recorded_labels_belong_to_their_frames_and_nothing_global_is_drawn():
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    recording = record(Seen(), 100, labels=["attr:state=x,y", "info:cell"], stack=2, seed=1)
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])
    assert recording.labels["cell"].dtype.kind == "i" and recording.labels["x"].dtype.kind == "f"
    lengths = np.unique(recording.episodes, return_counts=True)[1]
    assert lengths[:-1].tolist() == [14] * 7  # a reset's info has no cell, so that its frame is left out
    for frame, x, y, cell in zip(recording.observations, *recording.labels.values(), strict=True):
        assert frame.shape == (36, 36, 6) and (frame[int(y) * 6, int(x) * 6, 3:] == 255).all() and cell == x + 6 * y
    same = recording.episodes[1:] == recording.episodes[:-1]
    np.testing.assert_array_equal(recording.observations[1:, ..., :3][same], recording.observations[:-1, ..., 3:][same])
    again = record(Seen(), 100, labels=["attr:state=x,y", "info:cell"], stack=2, seed=1)
    np.testing.assert_array_equal(again.observations, recording.observations)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("info:gone", r"no entry for one of \['info:gone'\]; it has \['cell'\]"),
        ("attr:car.hull", "Seen has no attribute 'car'"),
        ("attr:state=x", "names 1 entries, but there are 2"),
        ("ram", "need an Atari environment"),
        ("speed", "There are no labels 'speed'"),
    ],
)
def test_sources_that_are_not_there_are_said(source, message):
    with pytest.raises(ValueError, match=message):
        record(Seen(), 5, labels=[source])


class Grainy(Seen):
    """No two frames of it are alike."""

    def _observation(self):
        return super()._observation() ^ self.np_random.integers(0, 32, (36, 36, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_the_callback_writes_curves_and_leaves_the_agent_bit_identical(name, tmp_path):
    settings = {"frames": 1000, "every": 40, "probe_kwargs": {"epochs": 2}}
    callback = ProbeCallback(Grainy, ["attr:state=x,y", "info:cell"], **settings)
    models = []
    for one, log in ((None, None), (callback, str(tmp_path))):
        model = make_model(name, tensorboard_log=log)
        model.learn(96, callback=one)
        models.append(model)
    assert same_parameters(*models)
    assert [steps for steps, _ in callback.reports] == ([0, 64, 96] if name == "PPO" else [0, 40, 80, 96])
    (folder,) = tmp_path.iterdir()
    events = EventAccumulator(str(folder)).Reload()
    assert {"probe/x", "probe/y", "probe/cell", "probe/mean_f1", "probe/mean_r2"} <= set(events.Tags()["scalars"])
    curve = events.Scalars("probe/x")
    assert [point.step for point in curve] == [steps for steps, _ in callback.reports]
    assert curve[0].value == pytest.approx(scores(callback.reports[0][1])["x"].score) and curve[0].value > 0


class Few(Seen):
    """Eight pictures of noise in all, each with a label that nothing but knowing it by heart tells."""

    def _observation(self):
        self.label = [0, 1, 1, 0, 1, 0, 0, 1][int(self.state @ [1, 6]) % 8]
        return np.random.default_rng(int(self.state @ [1, 6]) % 8).integers(0, 255, (36, 36, 3), dtype=np.uint8)


def test_the_callback_is_not_judged_by_frames_it_has_learnt_and_does_not_stop_a_training_for_want_of_others():
    callback = ProbeCallback(Few, ["attr:label"], frames=300, every=1)
    model = make_model("PPO")
    with pytest.warns(
        UserWarning, match=r"nothing to show at 0 steps: Every test frame is in training.*fingerprints=None"
    ) as told:
        model.learn(64, callback=callback)
    assert callback.reports == [] and model.num_timesteps == 64
    assert sum("ProbeCallback" in str(one.message) for one in told) == 1
    known = ProbeCallback(Few, ["attr:label"], frames=300, probe_kwargs={"fingerprints": None, "epochs": 20})
    make_model("PPO").learn(32, callback=known)
    assert known.reports[0][1].frames["test"] > 50 and known.reports[0][1].variables[0].score > 0.9  # by heart


class Faint(gym.ObservationWrapper):
    """Channel-first floats whose squares are little brighter than what they lie on."""

    def __init__(self):
        super().__init__(Grainy())
        self.observation_space = spaces.Box(0, 1, (3, 36, 36), np.float32)

    def observation(self, observation):
        return np.moveaxis(0.5 + observation.astype(np.float32) / 255 / 20, -1, 0)


def test_the_callback_probes_what_the_agent_acts_on_behind_vec_normalize():
    kwargs = {"normalize_images": False, "features_extractor_kwargs": {"features_dim": 16, "normalized_image": True}}
    env = VecNormalize(DummyVecEnv([Faint]), norm_reward=False)
    model = PPO("CnnPolicy", env, n_steps=32, batch_size=16, n_epochs=1, seed=0, policy_kwargs=kwargs)
    callback = ProbeCallback(Faint, ["attr:state=x,y"], frames=200)
    model.learn(64, callback=callback)
    with torch.no_grad():
        acted_on = model.policy.extract_features(torch.from_numpy(env.normalize_obs(callback.recording.observations)))
    torch.testing.assert_close(callback._features(), acted_on)
    assert (acted_on - encode(model, callback.recording.observations)).norm() > 0.5 * acted_on.norm()


def test_the_callback_normalises_each_entry_of_a_dict_and_says_where_it_cannot():
    env = VecNormalize(DummyVecEnv([lambda: StampedEnv(dict_obs=True, channels_last=True)]), norm_obs_keys=["image"])
    plain = make_model("PPO", dict_obs=True)
    frames = record(StampedEnv(dict_obs=True, channels_last=True), 3).observations
    assert as_normalised(plain, frames) is frames
    plain._vec_normalize_env = env
    env.reset()
    normalised = as_normalised(plain, frames)
    np.testing.assert_array_equal(normalised["vector"], frames["vector"])
    np.testing.assert_allclose(normalised["image"], env.normalize_obs(frames)["image"])
    inside = VecFrameStack(VecNormalize(DummyVecEnv([Grainy])), 2)
    model = make_model("PPO")
    model._vec_normalize_env = inside.venv
    with pytest.raises(ValueError, match=r"statistics of frames \(36, 36, 3\).* put it around"):
        as_normalised(model, np.zeros((2, 36, 36, 6), np.uint8))


def test_a_report_without_variables_of_a_kind_has_no_mean_of_it():
    report = ProbeReport([VariableScore("x", "continuous", ("all",), 0.5, 0.0)], {}, {})
    assert report.mean() is None and report.mean("continuous") == 0.5
