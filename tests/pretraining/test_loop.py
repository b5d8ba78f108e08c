"""The loop: what it learns and writes, how it goes on, and what it refuses."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpc_rl import NatureExtractor, encode, load_encoder
from cpc_rl.encoder import Encoder
from cpc_rl.pretraining import MinariEpisodes, Training, pretrain
from cpc_rl.pretraining.collect import collect
from cpc_rl.pretraining.episodes import Episodes, Segment
from cpc_rl.pretraining.loop import Pretrained, _device
from cpc_rl.pretraining.optimizers import LARS, cosine_with_warmup
from cpc_rl.pretraining.policies import RandomPolicy
from cpc_rl.pretraining.training import Learner
from tests.pretraining.toy import Rolling, rolling_data

SHORT: dict[str, Any] = {"steps": 6, "batch_size": 8, "warmup": 2, "workers": 0, "log_every": 3, "verbose": 0}
KWARGS: dict[str, Any] = {"extractor_kwargs": {"features_dim": 32}, **SHORT}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rolling_data(tmp_path_factory.mktemp("recorded"), steps=400)


def same_files(one: Pretrained, other: Pretrained) -> bool:
    return one.encoder.read_bytes() == other.encoder.read_bytes()


def test_it_learns_and_the_encoder_goes_into_an_agent(recorded: Path, tmp_path: Path) -> None:
    settings = {**SHORT, "steps": 40, "batch_size": 32, "log_every": 10, "learning_rate": 3e-3}
    done = pretrain(recorded, "simclr", out=tmp_path, extractor_kwargs={"features_dim": 64}, **settings)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    accuracy = [event.value for event in events.Scalars("contrastive/simclr/accuracy")]
    assert len(accuracy) == 4 and accuracy[-1] > accuracy[0] + 0.2  # chance is 0.016
    tags = set(events.Tags()["scalars"])
    wanted = {"contrastive/simclr/loss", "contrastive/simclr/mi_lower_bound", "representation/effective_rank"}
    assert wanted | {"representation/alignment", "pretrain/learning_rate"} <= tags
    policy = {"features_extractor_class": NatureExtractor, "features_extractor_kwargs": {"features_dim": 64}}
    model = PPO("CnnPolicy", Rolling(), n_steps=8, batch_size=8, policy_kwargs=policy, device="cpu")
    observation = Rolling().reset(seed=1)[0]
    before = encode(model, observation)
    load_encoder(model, done.encoder)
    trained = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["learner"]["encoder"]
    extractor = NatureExtractor(model.observation_space, 64)  # type: ignore[arg-type]
    extractor.load_state_dict({k.removeprefix("extractors.image."): v for k, v in trained.items()})
    image = torch.from_numpy(observation.transpose(2, 0, 1)[None]).float() / 255
    assert torch.allclose(encode(model, observation), extractor(image), atol=1e-6)
    assert not torch.allclose(encode(model, observation), before, atol=1e-3)


class Stopped(Exception):
    pass


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int, *arguments: Any, **keywords: Any) -> None:
    """A run that ends in the middle of step ``at``."""
    from cpc_rl.pretraining.training import Learner

    real = Learner.step

    def step(self: Learner, windows: Any, number: int) -> Any:
        if number == at:
            raise Stopped
        return real(self, windows, number)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", step)
        with pytest.raises(Stopped):
            pretrain(*arguments, **keywords)


@pytest.mark.parametrize("objective", ["moco", "spr"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    whole = pretrain(recorded, objective, out=tmp_path / "whole", **KWARGS)
    settings = {**KWARGS, "checkpoint_every": 2}
    interrupted(monkeypatch, 5, recorded, objective, out=tmp_path / "parts", **settings)
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert not (tmp_path / "parts" / "encoder.safetensors").exists()
    assert same_files(whole, pretrain(recorded, objective, out=tmp_path / "parts", **settings))
    states = [torch.load(tmp_path / part / "checkpoint.pt", weights_only=True)["learner"] for part in ("whole", "parts")]
    a, b = (torch.utils._pytree.tree_leaves(state) for state in states)
    assert len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True)
    )
    assert same_files(
        whole, pretrain(recorded, objective, out=tmp_path / "whole", **KWARGS)
    )  # finished: nothing is done again


def test_a_checkpoint_of_other_settings_is_refused(recorded: Path, tmp_path: Path) -> None:
    pretrain(recorded, "curl", out=tmp_path, **KWARGS)
    with pytest.raises(ValueError, match="was written with other settings"):
        pretrain(recorded, "curl", out=tmp_path, **{**KWARGS, "learning_rate": 1e-2})
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="no checkpoint that can be read"):
        pretrain(recorded, "curl", out=tmp_path, **KWARGS)
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".")] == []


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_its_checkpoint(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Each log entry reads the features as well: whatever is logged, the sentence comes first."""
    real = Learner.gradient

    def gradient(self: Learner, windows: Any, step: int = 0) -> Any:
        loss, metrics = real(self, windows, step)
        if step == 4:
            next(p.grad for p in self.encoder.parameters() if p.grad is not None).view(-1)[0] = torch.inf
            loss = loss * torch.nan if broken == "loss" else loss
        return loss, metrics

    monkeypatch.setattr(Learner, "gradient", gradient)
    with pytest.raises(ValueError, match="The loss of step 4, or its gradient, is not a finite number"):
        pretrain(recorded, "curl", out=tmp_path, checkpoint_every=1, **KWARGS)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 4 and all(value.isfinite().all() for value in state["learner"]["encoder"].values())


def test_a_learning_rate_that_is_far_too_large_ends_with_a_sentence(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Make the learning rate smaller \(it is 1e\+20\)"):
        pretrain(recorded, "simclr", out=tmp_path, learning_rate=1e20, **KWARGS)


def test_other_data_in_the_same_folder_are_refused_and_a_finished_run_says_so(
    recorded: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As many frames of the same kind, in episodes of the same lengths: only what they show tells them apart."""
    done = pretrain(recorded, "curl", out=tmp_path / "run", **KWARGS)
    before = done.encoder.read_bytes()
    env = Rolling()
    other = collect(env, RandomPolicy(env.action_space), steps=400, out=tmp_path / "other", seed=100).folder
    for data, settings, text in [
        (other, {}, 'data: then "[0-9a-f]{16}", now'),
        (recorded, {"frame_stack": 2}, "frame_stack: then 1, now 2"),
    ]:
        with pytest.raises(ValueError, match=f"with other settings or other data than those of now.*{text}") as refused:
            pretrain(data, "curl", out=tmp_path / "run", **settings, **KWARGS)
        assert ("data: then" in str(refused.value)) == (data is other)  # stacked, the same data have another digest
    assert done.encoder.read_bytes() == before
    copy = shutil.copytree(recorded, tmp_path / "copy")
    pretrain(copy, "curl", out=tmp_path / "run", **{**KWARGS, "verbose": 1})
    assert "is finished already" in capfd.readouterr().err


def test_a_checkpoint_without_its_data_or_of_something_else_is_refused(recorded: Path, tmp_path: Path) -> None:
    pretrain(recorded, "curl", out=tmp_path, **KWARGS)
    file = tmp_path / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    earlier = json.loads(state["signature"])
    del earlier["data"]
    torch.save({**state, "signature": json.dumps(earlier)}, file)
    with pytest.raises(ValueError, match="data: an earlier version did not write it down"):
        pretrain(recorded, "curl", out=tmp_path, **KWARGS)
    torch.save({"weights": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is no checkpoint of a pre-training"):
        pretrain(recorded, "curl", out=tmp_path, **KWARGS)


@pytest.mark.parametrize("settings", [{"accumulate": 4}, {"workers": 2}, {"log_every": 1, "checkpoint_every": 1}])
def test_how_it_is_computed_changes_nothing(recorded: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    plain = pretrain(recorded, "simclr", out=tmp_path / "a", optimizer="lars", **KWARGS)
    other = pretrain(recorded, "simclr", out=tmp_path / "b", optimizer="lars", **{**KWARGS, **settings})
    weights = [
        torch.load(r.encoder.with_name("checkpoint.pt"), weights_only=True)["learner"]["encoder"] for r in (plain, other)
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-6)


def test_bf16_is_near_float32(recorded: Path, tmp_path: Path) -> None:
    runs = [pretrain(recorded, "vicreg", out=tmp_path / p, precision=p, **KWARGS) for p in ("float32", "bf16")]
    assert not same_files(*runs)
    losses = []
    for run in runs:
        events = EventAccumulator(str(run.encoder.parent))
        events.Reload()
        losses.append([event.value for event in events.Scalars("contrastive/vicreg/loss")])
    assert np.allclose(losses[0], losses[1], rtol=0.05)


def test_on_a_cpu_the_channels_come_last_and_only_rounding_changes(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = []

    class Spying(Learner):
        def __init__(self, encoder: Encoder, *rest: Any) -> None:
            encoders.append(encoder)
            super().__init__(encoder, *rest)

    monkeypatch.setattr("cpc_rl.pretraining.loop.Learner", Spying)
    files = [pretrain(recorded, "curl", "nature", out=tmp_path / "last", device="cpu", **KWARGS).encoder]
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *args, **kwargs: self)  # it stays as it was made
    files.append(pretrain(recorded, "curl", "nature", out=tmp_path / "first", device="cpu", **KWARGS).encoder)
    last, first = ([p for p in encoder.parameters() if p.ndim == 4] for encoder in encoders)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in last)
    assert all(p.is_contiguous() for p in first)
    for name, value in load_file(files[0]).items():
        torch.testing.assert_close(value, load_file(files[1])[name], rtol=0, atol=1e-5)


def test_several_objectives_and_data_without_actions(recorded: Path, tmp_path: Path) -> None:
    pretrain(recorded, {"curl": 1, "spr": 2}, out=tmp_path / "two", objective_kwargs={"spr": {"horizon": 2}}, **KWARGS)

    class Unknown(Memory):
        action_space = None

    for name in ("spr", "inverse", "driml", "taco"):
        with pytest.raises(ValueError, match="needs to know the actions"):
            pretrain(Unknown(), name, out=tmp_path / name, **KWARGS)
    pretrain(Unknown(), "cpc", out=tmp_path / "cpc", objective_kwargs={"horizon": 2}, **KWARGS)


class Memory(Episodes):
    """Three episodes of two cameras, in memory."""

    def __init__(self) -> None:
        eye = spaces.Box(0, 255, (3, 36, 36), np.uint8)
        self.observation_space = spaces.Dict({"left": eye, "right": eye})
        self.action_space: Any = getattr(type(self), "action_space", spaces.Discrete(2))
        self.lengths = np.array([6, 6, 6])
        self.skipped = []
        self.frames = np.random.default_rng(0).integers(0, 256, (3, 6, 3, 36, 36), dtype=np.uint8)

    def read(self, episode: int, start: int, stop: int) -> Segment:
        part, n = self.frames[episode, start:stop], stop - start - 1
        size = 0 if self.action_space is None else 2
        return Segment({"left": part, "right": part[:, ::-1].copy()}, np.zeros((n, size), np.float32), np.zeros(n, np.float32))


class Fields(BaseFeaturesExtractor):
    """The grey values of the 4 x 4 fields, each times a number that is trained."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 16)
        self.scale = torch.nn.Parameter(torch.ones(16))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, ::9, ::9].flatten(1) * self.scale


def test_labels_that_were_recorded_end_in_a_probe_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The brightness is linear in these features; the step, 0 to 7 in all episodes, is in no image."""
    data = rolling_data(tmp_path, steps=700, labels=("attr:brightness", "info:steps"))
    assert np.array_equal(MinariEpisodes(data).labels(1)["steps"], np.arange(8))
    done = pretrain(data, "curl", Fields, out=tmp_path / "run", **{**SHORT, "verbose": 1}, probe_frames=600)
    assert done.report == tmp_path / "run" / "probe.json"
    found = json.loads(done.report.read_text())
    for encoder in ("trained", "untrained"):
        scores = {variable["name"]: variable["score"] for variable in found[encoder]["variables"]}
        assert scores["brightness"] > 0.99 and scores["steps"] < 0.35
    assert "| variable | trained | untrained |" in capfd.readouterr().out


@pytest.mark.parametrize("verbose", [0, 1])
def test_episodes_without_the_labels_of_the_others_are_named_and_not_probed(
    verbose: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = rolling_data(tmp_path, steps=700, labels=("attr:brightness", "info:steps"))
    with h5py.File(data / "data" / "main_data.hdf5", "a") as file:
        for number in (0, 7, 8):
            del file[f"episode_{number}"]["infos"]["labels"]
        del file["episode_3"]["infos"]["labels"]["steps"]
        short = file["episode_5"]["infos"]["labels"]["steps"][:4]
        del file["episode_5"]["infos"]["labels"]["steps"]
        file["episode_5"]["infos"]["labels"]["steps"] = short
    done = pretrain(data, "curl", Fields, out=tmp_path / "run", **{**SHORT, "verbose": verbose}, probe_frames=600)
    assert done.report is not None
    found = {v["name"]: v["score"] for v in json.loads(done.report.read_text())["trained"]["variables"]}
    assert found["brightness"] > 0.99 and "steps" in found
    told = [text.partition("main_data.hdf5, ")[2] for text in done.skipped]
    assert all(text.startswith("not probed: ") for text in done.skipped) and told == [
        "episode_5, labels: steps are not as many as the frames",
        "episode_0 has no labels, but others have brightness, steps",
        "episode_3 has the labels brightness, but others have brightness, steps",
        "episode_7 has no labels, but others have brightness, steps",
        "episode_8 has no labels, but others have brightness, steps",
    ]
    lines = [line for line in capfd.readouterr().err.splitlines() if "not probed" in line]
    assert len(lines) == verbose
    if verbose:
        assert lines[0].startswith("5 episodes were not probed: ") and lines[0].endswith("; and 2 more.")
        assert [f"episode_{number}" in lines[0] for number in (5, 0, 3, 7)] == [True, True, True, False]


def test_several_images_have_an_extractor_each_named_as_a_policy_names_them(tmp_path: Path) -> None:
    done = pretrain(Memory(), "multiview", out=tmp_path, **KWARGS)
    from safetensors.torch import load_file
    from stable_baselines3.common.torch_layers import CombinedExtractor

    names = set(load_file(done.encoder))
    combined = {name.rpartition("cnn.")[0] for name in CombinedExtractor(Memory().observation_space).state_dict()}
    assert {name.rpartition("cnn.")[0] for name in names if "cnn." in name} == combined - {"extractors.left.", ""} | {
        "extractors.left.",
    }
    assert {name.split(".")[1] for name in names} == {"left", "right"}


def test_the_learning_rate_rises_and_falls_as_a_cosine() -> None:
    shares = [cosine_with_warmup(step, 100, 9) for step in range(100)]
    assert np.allclose(shares[:10], np.arange(1, 11) / 10)
    assert np.isclose(cosine_with_warmup(50, 91, 9), 0.5) and 0 < shares[-1] < 0.001
    assert all(a > b for a, b in pairwise(shares[9:]))


def test_what_is_not_given_fits_the_optimiser_and_the_steps() -> None:
    assert [Training(optimizer=name).highest_rate for name in ("adamw", "lars")] == [1e-3, 1.0]  # type: ignore[arg-type]
    assert Training(optimizer="lars", learning_rate=0.2).highest_rate == 0.2
    assert [Training(steps=steps).warmup_steps for steps in (1, 300, 10_000)] == [0, 30, 500]
    assert Training(steps=300).identity == Training(steps=300, learning_rate=1e-3, warmup=30).identity
    with pytest.raises(ValueError, match="warmup is 300 with 300 steps"):
        Training(steps=300, warmup=300)


def test_lars_moves_the_weights_with_what_is_not_given(recorded: Path, tmp_path: Path) -> None:
    """By some percent in 40 steps, as AdamW does; at the rate of AdamW it would be by less than a thousandth."""
    settings = {**KWARGS, "steps": 40, "warmup": None}
    done = pretrain(recorded, "simclr", out=tmp_path, optimizer="lars", **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = NatureExtractor(MinariEpisodes(recorded).observation_space, 32).state_dict()  # type: ignore[arg-type]
    for name, trained in load_file(done.encoder).items():
        if trained.ndim > 1:
            assert (trained - fresh[name]).norm() > 0.01 * fresh[name].norm(), name


def test_lars_is_the_papers_step() -> None:
    w, b = torch.nn.Parameter(torch.tensor([[3.0, 4.0]])), torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = LARS([w, b], lr=0.5, weight_decay=0.1, momentum=0.9, trust=0.01)
    at, v = np.array([3.0, 4.0]), np.zeros(2)
    for gradient in ([1.0, 2.0], [-3.0, 0.5]):
        w.grad, b.grad = torch.tensor([gradient]), torch.tensor([2.0])
        optimizer.step()
        whole = np.array(gradient) + 0.1 * at
        v = 0.9 * v + 0.5 * 0.01 * np.linalg.norm(at) / np.linalg.norm(whole) * whole
        at = at - v
    assert np.allclose(w.detach().numpy(), at, atol=1e-6)
    first = 1 - 0.5 * (2 + 0.1)
    assert np.isclose(float(b.detach()), first - (0.9 * 0.5 * 2.1 + 0.5 * (2 + 0.1 * first)))


def test_what_makes_no_sense_is_refused(recorded: Path, tmp_path: Path) -> None:
    for wrong, text in [
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"optimizer": "sgd"}, "adamw, lars"),
        ({"precision": "fp8"}, "'float32' or 'bf16'"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": float("nan")}, "above 0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"steps": 2.5}, "steps is 2.5, but it must be a whole number"),
        ({"batch_size": "4"}, "batch_size is '4', a text"),
    ]:
        with pytest.raises(ValueError, match=text):
            Training(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="There is no extractor 'resnet'"):
        pretrain(recorded, "cpc", "resnet", out=tmp_path, **SHORT)
    with pytest.raises(ValueError, match="CombinedExtractor cannot be made with"):  # which is for Dict spaces
        pretrain(recorded, "cpc", CombinedExtractor, out=tmp_path, **{**SHORT, "extractor_kwargs": {}})
    whole = Training(steps=1e4, batch_size=4.0, seed=np.int64(3))  # type: ignore[arg-type]
    assert [type(value) for value in (whole.steps, whole.batch_size, whole.seed)] == [int, int, int] and whole.steps == 10_000


def test_a_script_without_a_guard_is_a_sentence_and_trains_once(recorded: Path, tmp_path: Path) -> None:
    """The processes that read data import the script."""
    script = Path(__file__).with_name("no_guard.py")

    def run(workers: int) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(script), str(recorded), str(tmp_path / str(workers)), str(workers)]
        environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    refused = run(1)
    assert refused.returncode == 1 and "ValueError: A process that reads the data has ended" in refused.stderr
    assert 'under if __name__ == "__main__":' in refused.stderr
    assert len(list((tmp_path / "1").glob("events*"))) == 1  # of the script itself alone
    assert run(0).returncode == 0


def test_under_torchrun_cuda_is_the_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "zeros", lambda *size, device: asked.append(str(device)) or torch.ones(1))
    monkeypatch.setenv("LOCAL_RANK", "1")
    for size, device, seen in (("2", "cuda", 2), ("2", "cuda:0", 2), ("1", "cuda", 2), ("2", "cuda", 1)):
        monkeypatch.setenv("WORLD_SIZE", size)
        monkeypatch.setattr(torch.cuda, "device_count", lambda seen=seen: seen)
        _device(device)
    assert asked == ["cuda:1", "cuda:0", "cuda", "cuda:0"]  # a launcher may show each process one GPU alone


def short_replay(file: Path) -> Path:
    space = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    buffer = ReplayBuffer(30, space, spaces.Discrete(3), device="cpu")
    for step in range(5):
        frame = np.full((1, 1, 36, 36), step, np.uint8)
        buffer.add(frame, frame + 1, np.array([0]), np.ones(1), np.array([False]), [{}])
    file.write_bytes(pickle.dumps(buffer))
    return file


def test_too_few_windows_are_told_with_the_size_of_a_batch(recorded: Path, tmp_path: Path) -> None:
    """Not with the number that is read to tell one set of data from another."""
    few = rolling_data(tmp_path, steps=5)
    for data, objective, size, text in [
        (recorded, "curl", 5000, "The data has 458 windows, but a batch has 5000: record more, or make the batch smaller"),
        (few, "cpc", 16, "The data has 5 windows, but a batch has 16: record more"),
        (
            short_replay(tmp_path / "few.pkl"),
            "curl",
            16,
            "The replay buffer holds fewer than 16 windows: make",
        ),
    ]:
        with pytest.raises(ValueError, match=text):
            pretrain(data, objective, out=tmp_path / "run", **{**KWARGS, "batch_size": size})
    assert not (tmp_path / "run").exists()
