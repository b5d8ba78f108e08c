"""``cpc-rl probe`` and ``cpc-rl look`` on a run's folder."""

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

from cpc_rl import ContrastiveCallback, NatureExtractor, Negatives, cli, encode, save_encoder
from cpc_rl.augment import Compose, RandomResizedCrop, RandomShift
from cpc_rl.diagnostics.cli_frames import _check_pixels
from cpc_rl.diagnostics.cli_look import LookArguments, page_of
from cpc_rl.diagnostics.cli_look import run as look
from cpc_rl.diagnostics.cli_probe import ProbeArguments
from cpc_rl.diagnostics.cli_probe import run as run_probe
from cpc_rl.diagnostics.features import encode_all, encoder_of
from cpc_rl.diagnostics.frame_windows import windows_of
from cpc_rl.diagnostics.recorded_episodes import RecordedEpisodes
from cpc_rl.diagnostics.recording import Recording, load_recording, record
from cpc_rl.diagnostics.saved_heads import load_objectives, read_back
from cpc_rl.diagnostics.saved_run import Subject, load_model, load_subject
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.named_environment import make_environment
from tests.algorithms import make_model, same_parameters
from tests.stamped_env import StampedEnv, read_stamps

FACTORY = "tests.diagnostics.test_commands:stamped"


def stamped(name="StampedEnv"):
    """As the models of tests.algorithms are trained on."""
    return StampedEnv(channels_last=True, lengths=(9, 14, 20))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A PPO with two heads, in a run's folder."""
    folder = tmp_path_factory.mktemp("run")
    model = make_model("PPO")
    callback = ContrastiveCallback({"cpc": 1, "byol": 1}, {"cpc": {"horizon": 2}}, batch_size=8)
    model.learn(64, callback=callback)
    model.save(folder / "model.zip")
    (folder / "config.yaml").write_text("run:\n  env: Stamped\n  seed: 0\n  recipe:\n    algorithm: ppo\n")
    (folder / "evaluations.csv").write_text("timesteps,mean_return\n0,1.0\n64,3.5\n")
    return folder, model, callback


def test_the_heads_come_back_as_they_were(run):
    folder, model, callback = run
    loaded = load_model(folder)
    assert type(loaded) is type(model) and same_parameters(loaded, model)
    objectives, left_out = load_objectives(loaded)
    assert left_out == {} and list(objectives) == ["cpc", "byol"] and objectives["cpc"].horizon == 2
    for name, objective in objectives.items():
        mine, theirs = objective.state_dict(), callback.heads["shared"].terms[name].objective.state_dict()
        assert mine.keys() == theirs.keys() and all((mine[key] == theirs[key]).all() for key in mine)
    assert load_objectives(make_model("PPO")) == ({}, {})


KEYWORDS = [
    {"augment": RandomShift(2)},
    {"augment": [RandomShift(2), "intensity", {"cutout": None}]},
    {"augment": Compose([RandomShift(2), RandomResizedCrop((0.5, 1.0))])},
    {"negatives": Negatives("batch", exclude_near=2), "augment": None},
]


@pytest.mark.parametrize("keywords", KEYWORDS, ids=str)
def test_keywords_that_were_objects_are_made_again(keywords):
    model = make_model("PPO")
    callback = ContrastiveCallback("curl", keywords, batch_size=8)
    model.learn(32, callback=callback)
    (mine,), (theirs,) = load_objectives(model)[0].values(), callback.heads["shared"].terms.values()
    assert mine.augmentation == theirs.objective.augmentation and mine.negatives == theirs.objective.negatives


def test_texts_are_parsed_and_never_run():
    for text in ("random_shift+intensity", "batch", "print(1)", "Negatives(print(1))", "Negatives(source=open('x'))", "(", ""):
        assert read_back(text) == text
    assert read_back({"a": [3, None, "Negatives(share=0.5)"]}) == {"a": [3, None, Negatives(share=0.5)]}


def unknown_augmentation(images, generator=None):
    return images


def test_a_head_that_cannot_be_made_again_costs_the_page_its_part_alone(tmp_path):
    model = make_model("PPO")
    model.learn(
        32, callback=ContrastiveCallback({"curl": 1, "byol": 1}, {"curl": {"augment": unknown_augmentation}}, batch_size=8)
    )
    model.save(tmp_path / "model.zip")
    common = {"algo": "ppo", "env_factory": FACTORY, "env": "Stamped", "projector": False}
    text = look(LookArguments(tmp_path / "model.zip", frames=60, **common)).read_text()
    assert "<h2>The head curl</h2>" in text and "are not shown: a model" in text and "unknown_augmentation" in text
    assert "Pairs of byol" in text and "Pairs of curl" not in text


def test_a_seed_fixes_what_the_policy_draws_and_changes_nothing_else(run):
    import torch

    common = {"env_factory": FACTORY, "frames": 40, "policy": "model", "seed": 5}
    recorded, subject = [], load_subject(run[0])
    for noise in (1, 2):
        torch.manual_seed(noise)
        recorded.append(LookArguments(run[0], **common).frames_of(subject))
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(noise)))
    np.testing.assert_array_equal(recorded[0].actions, recorded[1].actions)


class Tags(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_holds_every_picture_and_links_to_nothing(run, tmp_path):
    folder, _model, _ = run
    out = look(LookArguments(folder, env_factory=FACTORY, frames=80, out=tmp_path / "page.html"))
    text = out.read_text()
    images = [attributes for tag, attributes in Tags(text).found if tag == "img"]
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in images)
    assert len(images) == 5  # neighbours, gradient maps, pairs of both, scores of cpc
    assert not re.search(r"(src|href)=.?(?!.?data:)\w|url\(|https?://|<script|<link", text)
    for title in ("Return", "Figures", "Nearest neighbours", "Where the features look", "Pairs of cpc", "Scores of cpc"):
        assert f"<h2>{title}</h2>" in text
    assert "<svg" in text and "64 agent steps" in text
    assert len(list(tmp_path.glob("page-projector/**/sprite.png"))) == 1
    look(LookArguments(folder, env_factory=FACTORY, frames=80, out=tmp_path / "page.html"))  # again, beside the first one's
    assert len(list(tmp_path.glob("page-projector*"))) == 2
    dqn = make_model("DQN")
    plain = page_of(Subject(encoder_of(dqn), dqn), record(stamped(), 40), tmp_path)
    assert [part for part in plain.parts if "Scores of the features" in part] and "Pairs" not in plain.text()


def test_a_probe_from_the_command_line(run, tmp_path, capsys):
    folder, _model, _ = run
    common = {"env_factory": FACTORY, "frames": 90, "labels": ["attr:step_index"], "epochs": 2}
    report = run_probe(ProbeArguments(folder, out=tmp_path / "probe.json", **common))
    assert [v.name for v in report.variables] == ["step_index"]
    assert json.loads((tmp_path / "probe.json").read_text())["variables"][0]["score"] == report.variables[0].score
    assert "| step_index | all | F1 |" in capsys.readouterr().out
    file = record(stamped(), 90, labels=["attr:step_index"]).save(tmp_path / "frames.npz")
    again = run_probe(ProbeArguments(folder / "model.zip", data=file, epochs=2))
    assert again == report
    with pytest.raises(ValueError, match="no labels"):
        run_probe(ProbeArguments(folder, env_factory=FACTORY, frames=20))


def test_recordings_go_through_a_file(tmp_path):
    recording = record(StampedEnv(dict_obs=True, channels_last=True), 30, labels=["attr:episode", "attr:step_index"])
    back = load_recording(recording.save(tmp_path / "r.npz"))
    assert back.observations.keys() == {"image", "vector"}
    stamps = read_stamps(back.observations["image"], channels_last=True)
    np.testing.assert_array_equal(stamps.episode, back.labels["episode"])
    np.testing.assert_array_equal(stamps.step, back.labels["step_index"])
    np.testing.assert_array_equal(back.episodes, recording.episodes)
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(ValueError, match="not a readable"):
        load_recording(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(ValueError, match="has no 'observations', only x"):
        load_recording(tmp_path / "other.npz")


def test_files_of_frames_that_are_none_are_said(tmp_path):
    whole = record(stamped(), 40, labels=["attr:step_index"]).save(tmp_path / "whole.npz").read_bytes()
    np.savez(tmp_path / "short.npz", observations=np.zeros((6, 8, 8, 3), np.uint8), episodes=np.zeros(5, np.int64))
    np.savez(tmp_path / "point.npz", observations=np.uint8(3))
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "scratched.npz").write_bytes(whole[:2000] + bytes(100) + whole[2100:])
    said = {"short.npz": r"'episodes' in .* has the shape \(5,\), but there are 6 frames", "point.npz": r"has the shape \(\)"}
    for name in ("short.npz", "point.npz", "one.npy", "cut.npz", "scratched.npz", "absent.npz"):
        with pytest.raises(ValueError, match=said.get(name, "not a readable .npz file")):
            load_recording(tmp_path / name)


def test_one_number_for_each_action_will_do(tmp_path):
    np.savez(tmp_path / "flat.npz", observations=np.zeros((6, 8, 8, 3), np.uint8), actions=np.arange(6))
    assert load_recording(tmp_path / "flat.npz").actions.tolist() == [[n] for n in range(6)]
    np.savez(tmp_path / "steps.npz", observations=np.zeros((6, 36, 36, 3), np.uint8), actions=np.arange(1, 6))
    assert load_recording(tmp_path / "steps.npz").actions.tolist() == [[1], [2], [3], [4], [5], [0]]


@pytest.mark.parametrize("algorithm", ["dqn", "ars", "sac", "recurrentppo"])
def test_a_model_of_another_algorithm_is_said(run, algorithm):
    with pytest.raises(ValueError, match=r"cannot be read as a model of .*name that one \(--algo\)"):
        load_model(run[0], algorithm)


def test_a_zip_that_is_no_model_is_said(tmp_path):
    np.savez(tmp_path / "frames.npz", observations=np.zeros((6, 8, 8, 3), np.uint8))
    (tmp_path / "text.zip").write_text("no")
    for name in ("frames.npz", "text.zip"):
        with pytest.raises(ValueError, match="cannot be read as a model of PPO"):
            load_model(tmp_path / name, "ppo")


def test_windows_of_a_recording_stay_in_their_episodes():
    import torch

    env = StampedEnv(channels_last=False, lengths=(5, 3, 9))
    recording = record(env, 60)
    windows = windows_of(recording, torch.from_numpy(recording.observations), env.action_space, 3, 1000)
    stamps = read_stamps(windows.observations.numpy())
    assert (stamps.episode == stamps.episode[:, :1]).all() and (stamps.step == stamps.step[:, :1] + np.arange(4)).all()
    assert (windows.episode.numpy() == stamps.episode[:, 0]).all() and (windows.step.numpy() == stamps.step[:, 0]).all()
    taken = windows.actions.argmax(-1).numpy()
    for b, i in np.ndindex(*taken.shape):
        assert env.actions_taken[int(stamps.episode[b, i + 1]), int(stamps.step[b, i + 1])] == taken[b, i]
    starts = sum(max(0, int(n) - 3) for n in np.unique(recording.episodes, return_counts=True)[1])
    assert len(taken) == starts > 10
    assert windows_of(recording, torch.from_numpy(recording.observations), env.action_space, 30, 8) is None


def test_all_frames_are_encoded_as_one_by_one(run):
    _, model, _ = run
    frames = record(stamped(), 20).observations
    np.testing.assert_allclose(encode_all(encoder_of(model), frames, chunk=7), encode(model, frames), atol=1e-5)


def test_an_encoder_alone_is_probed_and_looked_at(run, tmp_path):
    _, model, _ = run
    file = save_encoder(model, tmp_path / "encoder.safetensors")
    subject = load_subject(tmp_path)
    assert subject.model is None
    frames = record(stamped(), 20).observations
    np.testing.assert_allclose(encode_all(subject.encoder, frames), encode(model, frames), atol=1e-5)
    common = {"env": "Stamped", "env_factory": FACTORY, "frames": 60}
    assert "Score matrix of the features" in look(LookArguments(file, projector=False, **common)).read_text()
    report = run_probe(ProbeArguments(tmp_path, labels=["attr:step_index"], epochs=1, **common))
    assert report.variables[0].name == "step_index"
    with pytest.raises(ValueError, match="cannot act"):
        look(LookArguments(file, policy="model", **common))
    file.write_bytes(b"no")
    with pytest.raises(ValueError, match="is not a file of"):
        load_subject(file)


def test_the_run_is_the_first_word_after_the_command():
    import tyro

    assert tyro.cli(LookArguments, args=["a/run", "--frames", "7"]) == LookArguments(Path("a/run"), frames=7)


def test_modules_of_the_working_directory_are_found(run, tmp_path, monkeypatch, capsys):
    """As `collect` does; a console script has its own folder on the path, and not the user's."""
    folder, *_ = run
    (tmp_path / "made_here.py").write_text("from tests.diagnostics.test_commands import stamped as make\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = list(sys.path)
    arguments = [str(folder), "--env-factory", "made_here:make", "--frames", "60", "--out", "page.html", "--no-projector"]
    assert cli.main(["look", *arguments]) == 0
    assert Path("page.html").is_file() and sys.path == before
    assert cli.main(["look", str(folder), "--env", "nowhere:Nothing-v0"]) == 2
    assert "There is no environment 'nowhere:Nothing-v0' that can be made: No module named" in capsys.readouterr().err


def test_what_is_missing_is_said(run, tmp_path):
    folder, model, _ = run
    with pytest.raises(ValueError, match="There is no model in"):
        load_model(tmp_path)
    model.save(tmp_path / "alone.zip")
    with pytest.raises(ValueError, match="name it"):
        load_model(tmp_path / "alone.zip")
    with pytest.raises(ValueError, match="There is no algorithm 'dpo'; there are A2C"):
        load_model(tmp_path / "alone.zip", "dpo")
    with pytest.raises(ValueError, match="must be 'module:function'"):
        look(LookArguments(folder, env_factory="nowhere:make"))
    with pytest.raises(ValueError, match=r"no stack of the environment's \(36, 36, 2\)"):
        look(LookArguments(folder, env="x", env_factory="tests.diagnostics.test_commands:grey"))
    with pytest.raises(ValueError, match="is no JSON"):
        look(LookArguments(folder, env_factory=FACTORY, env_kwargs="{size: 3}"))


def test_how_an_environment_that_is_not_registered_is_named_is_said(run, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("run: {env: Qwertz-v0, recipe: {algorithm: ppo}}\n")
    shutil.copy(run[0] / "model.zip", tmp_path)
    for command in ("look", "probe"):
        assert cli.main([command, str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("cpc-rl: There is no environment 'Qwertz-v0' that can be made: Environment `Qwertz`")
        # Where other environments are registered Gymnasium asks whether one of them was meant.
        assert re.search(
            r"doesn't exist\.( Did you mean: .*\?)? If a function makes it, name that too, --env-factory module:", said
        )
        assert "--env-factory envs:make_env" in said and "--env module:id" in said and ".." not in said and "?." not in said
    with pytest.raises(ValueError, match=r"can be made: .*size") as info:  # what else is wrong has another remedy
        make_environment("CartPole-v1", None, {"size": 3})
    assert "--env-factory" not in str(info.value)


def test_a_factory_that_takes_an_id_needs_one(run, tmp_path, capsys):
    file = save_encoder(run[1], tmp_path / "encoder.safetensors")
    assert cli.main(["look", str(file), "--env-factory", "envs:make_env"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("cpc-rl: envs:make_env makes an environment of its id, and neither --env nor a config.yaml")
    with pytest.raises(ValueError, match="unexpected keyword argument 'sizes'"):
        make_environment(None, "envs:make_env", {"sizes": 3})
    assert isinstance(make_environment(None, "tests.stamped_env:StampedEnv"), StampedEnv)


def test_uint8_frames_for_an_encoder_of_floats_as_large_are_what_the_agent_sees():
    frames = Recording(np.zeros((2, 3, 36, 36), np.uint8), np.zeros((2, 0)), np.zeros(2, np.int64), {})
    for high, fits in ((255, True), (1, False)):
        space = spaces.Box(0, high, (3, 36, 36), np.float32)
        encoder = Encoder({IMAGE: NatureExtractor(space, 8, normalized_image=True)}, space)
        if fits:
            _check_pixels(encoder, frames)
        else:
            with pytest.raises(ValueError, match="but the frames are uint8 images"):
                _check_pixels(encoder, frames)


def test_uint8_frames_for_an_encoder_of_normalised_ones_are_refused(tmp_path):
    kwargs = {"normalize_images": False, "features_extractor_kwargs": {"features_dim": 16, "normalized_image": True}}
    env = VecNormalize(VecTransposeImage(DummyVecEnv([stamped])))
    PPO("CnnPolicy", env, n_steps=8, batch_size=8, policy_kwargs=kwargs).save(tmp_path / "model.zip")
    common = {"algo": "ppo", "env_factory": FACTORY, "frames": 20, "labels": ["attr:step_index"]}
    with pytest.raises(ValueError, match="but the frames are uint8 images: make them as they were in training"):
        run_probe(ProbeArguments(tmp_path / "model.zip", **common))


def grey(name):
    """Another number of colours than the models have, and of which no stack has it."""
    return StampedEnv(channels_last=True, shape=(2, 36, 36))


def test_recordings_need_no_actions():
    import torch

    images = np.zeros((6, 1, 8, 8), np.uint8)
    recording = Recording(images, np.zeros((6, 0)), np.zeros(6, np.int64), {})
    windows = windows_of(recording, torch.from_numpy(images), StampedEnv().action_space, 2, 4)
    assert windows.actions.shape == (4, 2, 0)


def test_recordings_are_data_to_pre_train_on():
    env = StampedEnv(channels_last=True, lengths=(5, 3, 9))
    data = RecordedEpisodes(record(env, 40), env.action_space)
    assert data.lengths[:3].tolist() == [5, 3, 9] and data.observation_space.shape == (3, 36, 36)
    segment = data.read(2, 4, 8)
    stamps = read_stamps(segment.observations)
    assert stamps.episode.tolist() == [2] * 4 and stamps.step.tolist() == [4, 5, 6, 7]
    assert segment.actions.argmax(1).tolist() == [int(env.actions_taken[2, step]) for step in (5, 6, 7)]
    assert RecordedEpisodes(record(env, 9)).read(0, 0, 2).actions.shape == (1, 0)
    with pytest.raises(ValueError, match="must be uint8 images"):
        RecordedEpisodes(Recording(np.zeros((4, 8, 8, 1)), np.zeros((4, 0)), np.zeros(4, np.int64), {}))
    with pytest.raises(ValueError, match=r"np.moveaxis\(observations, 1, -1\)"):
        RecordedEpisodes(Recording(np.zeros((4, 3, 40, 40), np.uint8), np.zeros((4, 0)), np.zeros(4, np.int64), {}))
