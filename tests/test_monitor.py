"""What TensorBoard gets to see, and the figures of a representation."""

import copy
import math

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from cpc_rl import ATC, ContrastiveCallback, SimCLR
from cpc_rl.augment import ColorJitter
from cpc_rl.diagnostics.representation import alignment, effective_rank, uniformity
from cpc_rl.monitor import Monitor, pair_picture
from tests.algorithms import make_model
from tests.synthetic import make_encoder, rolling_patterns


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_every_tag_of_the_contract_is_written(name, tmp_path):
    model = make_model(name, tensorboard_log=str(tmp_path))
    model.learn(160, callback=ContrastiveCallback("cpc", batch_size=8))
    (folder,) = tmp_path.iterdir()
    events = EventAccumulator(str(folder)).Reload()
    scalars = set(events.Tags()["scalars"])
    contrastive = {f"contrastive/cpc/{n}" for n in ("loss", "accuracy", "mi_lower_bound", "mi_ceiling")}
    whole = {"contrastive/gradient_ratio", "contrastive/coef"}
    representation = {f"representation/{n}" for n in ("effective_rank", "alignment", "uniformity")}
    assert contrastive | whole | representation <= scalars
    assert "contrastive/cpc/pairs" in events.Tags()["images"]
    ceiling = events.Scalars("contrastive/cpc/mi_ceiling")[-1].value
    assert math.log(4) < ceiling <= math.log(8) + 1e-5  # next frames alone, less those beyond an end
    assert events.Scalars("contrastive/cpc/mi_lower_bound")[-1].value <= ceiling


NO_USE = "augment was given and has no use"


class Counted(ColorJitter):
    """How often it is used."""

    calls = 0

    def augment(self, images, generator):
        type(self).calls += 1
        return super().augment(images, generator)


@pytest.mark.parametrize(
    ("name", "keywords", "settings", "told"),
    [
        ("PPO", {}, {}, True),
        ("DQN", {}, {}, True),
        ("CrossQ", {}, {}, True),
        ("DQN", {}, {"n_steps": 3}, False),  # the target reads frames three steps on: keys have a pass of their own
        ("PPO", {"horizon": 2}, {}, False),
    ],
)
def test_an_augmentation_that_changes_nothing_is_told_of_and_not_shown(name, keywords, settings, told, recwarn, tmp_path):
    Counted.calls = 0
    model = make_model(name, tensorboard_log=str(tmp_path), **settings)
    model.learn(64, callback=ContrastiveCallback("cpc", {"augment": Counted(), **keywords}, batch_size=8))
    warned = [w for w in recwarn if NO_USE in str(w.message)]
    assert bool(warned) == told and (Counted.calls <= 1) == told  # once to see whether it keeps the size
    Counted.calls = 0
    make_model(name).learn(64, callback=ContrastiveCallback("cpc", {"augment": Counted()}, batch_size=8, share_passes=False))
    assert Counted.calls > 1 and len([w for w in recwarn if NO_USE in str(w.message)]) == len(warned)


class TemporalDistanceContrastiveObjective(SimCLR):
    """Two of its tags are the same where Stable-Baselines3's table cuts them."""


@pytest.mark.parametrize(("objective", "printed"), [(TemporalDistanceContrastiveObjective, False), (SimCLR, True)])
def test_a_name_too_long_for_the_printed_table_is_in_tensorboard_alone(objective, printed, tmp_path, capsys):
    model = make_model("PPO", verbose=1, tensorboard_log=str(tmp_path))
    model.learn(64, callback=ContrastiveCallback(objective, batch_size=8))
    name = objective.__name__.lower()
    tags = {f"contrastive/{name}/{n}" for n in ("loss", "accuracy", "mi_lower_bound", "mi_ceiling")}
    (folder,) = tmp_path.iterdir()
    assert tags <= set(EventAccumulator(str(folder)).Reload().Tags()["scalars"])
    table = capsys.readouterr().out
    assert (f"{name}/mi_lower_bound" in table) == printed and "contrastive/" in table and "gradient_ratio" in table


def test_a_loaded_model_is_logged_from_its_first_head_step_on(tmp_path):
    model = make_model("PPO")
    model.learn(32, callback=ContrastiveCallback("cpc", batch_size=8))
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", env=model.env, tensorboard_log=str(tmp_path / "logs"))
    loaded.learn(32, callback=ContrastiveCallback("cpc", batch_size=8))  # head steps five to eight
    (folder,) = (tmp_path / "logs").iterdir()
    assert "contrastive/cpc/loss" in EventAccumulator(str(folder)).Reload().Tags()["scalars"]


def test_pictures_and_figures_draw_nothing_from_the_heads_generators(tmp_path):
    states = []
    for log in (None, str(tmp_path)):
        model = make_model("DQN", tensorboard_log=log)
        callback = ContrastiveCallback("curl", batch_size=4)
        model.learn(160, callback=callback)
        states.append([p.clone() for p in model.policy.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_effective_rank_of_known_spectra():
    assert float(effective_rank(torch.eye(6))) == pytest.approx(6)
    assert float(effective_rank(torch.ones(5, 4))) == pytest.approx(1, abs=1e-4)
    assert float(effective_rank(torch.zeros(5, 4))) == 0
    assert effective_rank(torch.tensor([[1.0, torch.nan], [0.0, 1.0]])).isnan()
    values = np.array([3.0, 1.0])
    shares = values / values.sum()
    assert float(effective_rank(torch.diag(torch.tensor(values)))) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_alignment_and_uniformity_equal_literal_loops():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    unit = [[row / np.linalg.norm(row) for row in side] for side in (x, y)]
    expected = np.mean([np.sum((a - b) ** 2) for a, b in zip(*unit, strict=True)])
    assert float(alignment(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected)
    pairs = [np.exp(-2 * np.sum((unit[0][i] - unit[0][j]) ** 2)) for i in range(6) for j in range(i)]
    assert float(uniformity(torch.tensor(x))) == pytest.approx(np.log(np.mean(pairs)), rel=1e-4)


def test_picture_shows_anchors_above_positives():
    anchors = torch.arange(2 * 9 * 4 * 4, dtype=torch.uint8).view(2, 9, 4, 4)
    picture = pair_picture(anchors, anchors + 1)
    assert picture.shape == (8, 8, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[:4, 4:], anchors[1, -3:].permute(1, 2, 0))
    np.testing.assert_array_equal(picture[4:], picture[:4] + 1)
    grey = pair_picture(torch.full((1, 4, 2, 2), 0.5), torch.ones(1, 4, 2, 2))
    assert grey.shape == (4, 2, 3) and (grey[:2] == 127).all() and (grey[2:] == 255).all()


def test_equal_scores_of_all_observations_raise_a_warning():
    with pytest.warns(UserWarning, match="contrastive/cpc: .* equal guesses"):
        Monitor("cpc").warn.of_equal_scores({"mi_lower_bound": 0.0, "mi_ceiling": math.log(16), "accuracy": 1 / 16})
    Monitor("cpc").warn.of_equal_scores({"mi_lower_bound": 0.01, "mi_ceiling": math.log(16), "accuracy": 1 / 16})


class Dropping(BaseFeaturesExtractor):
    """Drops half of what it sees, and normalises it by the batch, in training mode alone."""

    def __init__(self, observation_space, features_dim=16):
        super().__init__(observation_space, features_dim)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 36 * 36, features_dim), nn.BatchNorm1d(features_dim), nn.Dropout()
        )

    def forward(self, images):
        return self.layers(images)


def test_looking_at_an_encoder_neither_trains_it_nor_draws():
    """Even in training mode, as in pre-training and after the last update of an agent."""
    model = make_model("PPO", policy_kwargs={"features_extractor_class": Dropping, "features_extractor_kwargs": {}})
    callback = ContrastiveCallback("simclr", batch_size=8)
    model.learn(32, callback=callback)
    (head,), (monitors,) = callback.heads.values(), callback._monitors.values()
    head.encoder.train()
    monitor = monitors.by_name["simclr"]
    assert monitor.windows is not None
    before, drawn = copy.deepcopy(head.encoder.state_dict()), torch.get_rng_state()
    monitor.flush(model.logger, head.encoder, head.terms["simclr"].objective, 0)
    assert all(torch.equal(value, before[name]) for name, value in head.encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn) and head.encoder.training


def test_several_objectives_look_at_the_encoder_once_and_at_their_own_pairs(tmp_path):
    model = make_model("PPO", tensorboard_log=str(tmp_path))
    model.learn(64, callback=ContrastiveCallback({"curl": 1, "simclr": 1}, batch_size=8))
    (folder,) = tmp_path.iterdir()
    tags = {tag for tag in EventAccumulator(str(folder)).Reload().Tags()["scalars"] if tag.startswith("representation/")}
    assert {"representation/alignment_curl", "representation/alignment_simclr", "representation/effective_rank"} <= tags
    assert "representation/alignment" not in tags


@pytest.mark.parametrize("shuffled", [False, True])
def test_alignment_and_pictures_are_of_pairs_that_are_there(shuffled, monkeypatch):
    """Where an episode ends before the horizon a window repeats its last frame, maybe the anchor itself."""
    encoder = make_encoder()
    atc = ATC(encoder, horizon=3, augment=None, shuffled=shuffled)
    windows = rolling_patterns(12, 4, seed=0)
    whole = torch.arange(12) % 3 > 0
    images = windows.observations.clone()
    images[~whole, 1:] = images[~whole, :1]
    mask = windows.mask.clone()
    mask[~whole, 1:] = False
    windows = windows._replace(observations=images, mask=mask)

    shown = []
    monkeypatch.setattr("cpc_rl.monitor.pair_picture", lambda *pairs: shown.append(pairs) or pair_picture(*pairs))

    def logged(given):
        model, monitor = make_model("PPO"), Monitor("atc")
        model.set_logger(configure(None, []))
        monitor.add({"loss": torch.tensor(1.0)}, given)
        monitor.flush(model.logger, encoder, atc, 0)
        return model.logger.name_to_value.get("representation/alignment")

    rows = atc.paired(windows)
    assert torch.equal(rows, whole.roll(1) if shuffled else whole)
    with torch.no_grad():
        anchors, positives = atc.pairs(windows)
        expected = alignment(encoder(anchors[rows]), encoder(positives[rows]))
    assert logged(windows) == pytest.approx(float(expected), rel=1e-5)
    ((above, below),) = shown
    assert torch.equal(above, anchors[rows]) and torch.equal(below, positives[rows])
    assert logged(windows._replace(mask=torch.zeros_like(mask))) is None
