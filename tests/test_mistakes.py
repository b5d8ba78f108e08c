"""What goes wrong in silence, or deep inside, unless it is told: settings of another kind, objectives that are none."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure
from stable_baselines3.ppo import CnnPolicy
from torch import nn

from cpc_rl import ContrastiveCallback, Objective, TransferCallback
from cpc_rl.monitor import Monitors
from cpc_rl.objectives import CURL
from tests.algorithms import ALGORITHMS, make_model, same_parameters, steps

NAN = float("nan")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"learning_rate": "1e-3"},
            r"learning_rate is '1e-3', a text, but it must be a finite number above 0 \(in YAML, 1e-3",
        ),
        ({"learning_rate": lambda remaining: remaining}, "learning_rate is <function"),
        ({"gradient_ratio": NAN}, "gradient_ratio is nan, but it must be a finite number of at least 0"),
        ({"every": 1.5}, "every is 1.5, but it must be a whole number of at least 1"),
        ({"start": "3"}, "start is '3', a text"),
        ({"batch_size": 16.5}, "batch_size is 16.5, but it must be a whole number of at least 2"),
        ({"seed": "3"}, "seed is '3', a text"),
        ({"coef": None}, "coef is None"),
        ({"coef": float("inf")}, "coef is inf"),
        ({"coef": lambda remaining: remaining - 1}, r"coef\(0\.5\), of the schedule, is -0\.5"),
        ({"share_passes": "no"}, "share_passes is 'no', but it takes True or False"),
        ({"objective_kwargs": [1]}, r"objective_kwargs is \[1\], but it takes a dict"),
        (
            {"objective_kwargs": {"shuffled": "False"}},
            "shuffled of the objective 'cpc' is 'False', but it takes True or False",
        ),
        ({"objective_kwargs": {"temperature": NAN}}, "temperature of the objective 'cpc' is nan"),
        ({"objective_kwargs": {"horizon": "3"}}, "horizon of the objective 'cpc' is '3', a text"),
        ({"objective_kwargs": {"latent_dim": 0}}, "latent_dim of the objective 'cpc' is 0, .* of at least 1"),
        ({"objective": {"curl": "a"}}, "The weight of the objective 'curl' is 'a', a text"),
        ({"objective": {"curl": 1, type("curl", (CURL,), {}): 2}}, "Two objectives are called 'curl'"),
    ],
)
def test_settings_of_another_kind(keywords, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveCallback(**keywords)


def test_other_callbacks_and_a_class_in_place_of_an_object():
    with pytest.raises(ValueError, match="unfreeze_at is '100', a text"):
        TransferCallback("frozen", unfreeze_at="100")
    with pytest.raises(ValueError, match="was given the class itself: pass an object"):
        make_model("DQN").learn(8, callback=ContrastiveCallback)


class Parts(CnnPolicy):
    """Calls the parts of its extractor, so that no hook sees the extractor give anything out."""

    def extract_features(self, obs, features_extractor=None):
        extractor = self.features_extractor
        return extractor.linear(extractor.cnn(obs.float() / 255))


def test_a_policy_that_never_calls_its_extractor(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "PPO", lambda policy, *args, **keywords: PPO(Parts, *args, **keywords))
    plain = make_model("PPO")
    plain.learn(64)
    weighed = make_model("PPO")
    with pytest.warns(UserWarning, match="curl had no say in this learn.*Give coef a number"):
        weighed.learn(64, callback=ContrastiveCallback("curl", batch_size=8))
    assert same_parameters(plain, weighed)
    fixed = make_model("PPO")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fixed.learn(64, callback=ContrastiveCallback("curl", batch_size=8, coef=0.1))
    assert not same_parameters(plain, fixed)


def test_more_updates_between_steps_than_there_are():
    with pytest.warns(UserWarning, match="No head made a step.*every is 1000, and the encoder had .* updates"):
        make_model("DQN").learn(steps("DQN"), callback=ContrastiveCallback("cpc", batch_size=4, every=1000))


class Plain(Objective):
    """Features of the first frame, made as long as one."""

    def __init__(self, encoder, action_dim=0, *, break_it=lambda loss, features: (loss, {"loss": loss.detach()})):
        super().__init__(encoder, action_dim)
        self.linear = nn.Linear(encoder.features_dim, 1)
        self.break_it, self.calls = break_it, 0

    def forward(self, encoder, windows):
        self.calls += 1
        features = encoder(windows.observations[:, 0])
        return self.break_it((self.linear(features) - 1).square().mean(), features)


def learn(objective, **keywords):
    """A DQN after some updates with a head."""
    model, callback = make_model("DQN"), ContrastiveCallback(objective, batch_size=4, **keywords)
    model.learn(2 * steps("DQN"), callback=callback)
    return model, callback


def breaking(break_it):
    class Mine(Plain):
        def __init__(self, encoder, action_dim=0):
            super().__init__(encoder, break_it=break_it)

    return Mine


MUST = "The objective 'mine' must return its loss and a dict of metrics"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda loss, z: loss, rf"{MUST}, but it returned a tensor of shape \(\)\."),
        (lambda loss, z: (loss, None), f"{MUST}, but it returned a tuple of a tensor .*, an object of NoneType"),
        (lambda loss, z: (1.0, {}), f"{MUST}; the loss is a scalar tensor with a gradient, but it is an object of float"),
        (lambda loss, z: (z.mean(1), {}), rf"{MUST}; .* but it is a tensor of shape \(4,\)\."),
        (lambda loss, z: (loss.detach(), {}), rf"{MUST}; .* it is a tensor of shape \(\), without a gradient"),
        (lambda loss, z: (loss, {"each": z[:, 0]}), rf"{MUST}; metrics are scalars, but 'each' is a tensor of shape \(4,\)"),
    ],
)
def test_objectives_that_return_something_else(break_it, message):
    with pytest.raises(ValueError, match=message):
        learn(breaking(break_it))


def test_an_objective_that_names_no_loss_among_its_metrics_is_logged(tmp_path):
    model = make_model("DQN")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(80, callback=ContrastiveCallback(breaking(lambda loss, z: (loss, {"mean": 1.0})), batch_size=4))
    columns = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    assert {"contrastive/mine/loss", "contrastive/mine/mean"} <= set(columns)


class Keeping(Plain):
    def __init__(self, encoder, action_dim=0):
        super().__init__(encoder)
        self.encoder = encoder


class Nothing(Objective):
    pass


class Alone(Objective):
    def __init__(self, encoder):
        super().__init__(encoder, 0)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Keeping, "'keeping' keeps parameters of the encoder among its own"),
        (Alone, r"'alone' is made by Alone\(encoder, action_dim, \*\*objective_kwargs\), and cannot be: too many positional"),
    ],
)
def test_objectives_that_cannot_be(objective, message):
    with pytest.raises(ValueError, match=message):
        learn(objective)


def test_an_objective_without_a_loss():
    with pytest.raises(NotImplementedError, match=r"Nothing needs a method forward\(encoder, windows, shared=None\)"):
        learn(Nothing)


@pytest.mark.parametrize("detached", ["features", "extractor"])
def test_a_loss_that_does_not_reach_the_encoder(detached):
    class Mine(Plain):
        def forward(self, encoder, windows):
            image = windows.observations[:, 0]
            if detached == "features":
                features = encoder(image).detach()
            else:
                features = encoder.extractors["image"](image / 255)
            return (self.linear(features) - 1).square().mean(), {}

    plain = make_model("DQN")
    plain.learn(2 * steps("DQN"))
    with pytest.warns(UserWarning, match="does not depend on what the encoder gave out"):
        model, _ = learn(Mine, coef=10.0)
    assert same_parameters(plain, model)


@pytest.mark.parametrize("gradient", ["joint", "separate"])
@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_loss_that_is_once_no_number(gradient, value):
    class Mine(Plain):
        def forward(self, encoder, windows):
            loss, metrics = super().forward(encoder, windows)
            return (loss * value if self.calls == 3 else loss), metrics

    with pytest.warns(UserWarning, match="the gradient of 1 of the last .* head steps was not finite, and they were left out"):
        model, callback = learn(Mine, gradient=gradient)
    (head,) = callback.heads.values()
    assert head.steps > 5
    assert all(torch.isfinite(p).all() for p in [*model.policy.parameters(), *head.parameters])
    assert torch.isfinite(head.terms["mine"].balance.auxiliary_norm)


def test_one_more_head_than_there_was_is_no_other_setting():
    model = make_model("SAC")
    model.learn(steps("SAC"), callback=ContrastiveCallback("curl", batch_size=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(
            steps("SAC"), callback=ContrastiveCallback("curl", batch_size=4, encoder="both"), reset_num_timesteps=False
        )
    with pytest.warns(UserWarning, match="with other settings than those of the 'actor' head"):
        model.learn(8, callback=ContrastiveCallback("cpc", batch_size=4, encoder="both"), reset_num_timesteps=False)


def test_the_last_row_of_a_log_says_at_which_step_it_is(tmp_path):
    model = make_model("DQN")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(40, callback=ContrastiveCallback("curl", batch_size=4))
    header, *rows = [line.split(",") for line in (tmp_path / "progress.csv").read_text().splitlines()]
    assert rows[-1][header.index("time/total_timesteps")] == "40"
    assert rows[-1][header.index("contrastive/curl/loss")]


@pytest.mark.parametrize(
    ("keywords", "attribute", "value"),
    [
        ({"start": 1e4}, "start", 10_000),
        ({"every": np.float64(2)}, "every", 2),
        ({"batch_size": np.int64(8)}, "batch_size", 8),
    ],
)
def test_numbers_that_are_whole(keywords, attribute, value):
    found = getattr(ContrastiveCallback(**keywords).settings, attribute)
    assert found == value and type(found) is int


@pytest.mark.parametrize(
    "coef", [torch.tensor(0.5), np.array(0.5), Fraction(1, 2), lambda p: np.where(p > 0.5, 1.0, 0.0), lambda p: p > 0.5]
)
def test_whatever_is_a_number(coef):
    head = ContrastiveCallback("curl", {"temperature": torch.tensor(0.1)}, coef=coef, share_passes=1)
    assert head.settings.coef is coef
    assert TransferCallback("frozen", unfreeze_at=1e4).unfreeze_at == 10_000


def test_a_schedule_that_ends_at_nothing_lasts_for_the_whole_of_the_last_rollout():
    """Stable-Baselines3's remaining progress is below 0 in it, unless the steps that were asked for are whole rollouts."""
    model, callback = make_model("PPO"), ContrastiveCallback("curl", batch_size=8, coef=lambda remaining: 0.5 * remaining)
    model.learn(50, callback=callback)
    assert model._current_progress_remaining < 0
    assert callback._head_steps == 8


def test_keywords_may_be_changed_afterwards():
    keywords = {"curl": {"horizon": 3}, "cpc": {}}
    callback = ContrastiveCallback({"curl": 1, "cpc": 1}, keywords)
    keywords["curl"]["horizon"] = 7
    assert callback.settings.keywords == {"curl": {"horizon": 3}, "cpc": {}}


class Spaced(CURL):
    """Made with the space of actions, limits and flags of its own."""

    def __init__(self, encoder, action_dim, space, *, limit: float = math.inf, late: float = None, share: bool | float = 0.5):  # noqa: RUF013
        super().__init__(encoder, action_dim)
        self.space, self.limit = space, limit

    @classmethod
    def build(cls, encoder, action_space, **keywords):
        return cls(encoder, 0, action_space, **keywords)


class Unread(CURL):
    def __init__(self, encoder, action_dim=0, *, thing: "torch.nothere.Thing" = 3):
        super().__init__(encoder, action_dim)


class OtherPairs(CURL):
    """Figures of half of the rows, and of other frames than the default."""

    def pairs(self, windows):
        half = windows.observations[::2, 0]
        return self.augmented(half), self.augmented(half)


@pytest.mark.parametrize(
    ("objective", "keywords"),
    [(Spaced, {"limit": math.inf, "late": None, "share": 0.7}), (Unread, {"thing": 4}), (OtherPairs, {})],
)
def test_objectives_that_are_made_in_their_own_way(objective, keywords, tmp_path):
    model = make_model("DQN")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    callback = ContrastiveCallback(objective, keywords, batch_size=4)
    model.learn(60, callback=callback)
    assert callback._head_steps > 0
    assert "representation/alignment" in (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")


def test_what_an_objective_returns_may_be_a_list_of_other_numbers(tmp_path):
    model = make_model("DQN")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    figures = {"loss": 7.0, "mi_lower_bound": 1.0, "mi_ceiling": np.float32(2.0)}
    model.learn(60, callback=ContrastiveCallback(breaking(lambda loss, z: [loss[None], figures]), batch_size=4))
    header, *rows = [line.split(",") for line in (tmp_path / "progress.csv").read_text().splitlines()]
    assert float(rows[-1][header.index("contrastive/mine/loss")]) == 7  # its own
    assert not {"left out", "detached"} & {name.rpartition("/")[2] for name in header}


def broken_once(calls, at=6):
    """An augmentation one of whose batches has a pixel that is no number."""

    def augment(images, generator=None):
        images = images.float() / 255
        calls.append(len(images))
        if len(calls) == at:
            images = images.clone()
            images[0, 0, 0, 0] = NAN
        return images

    return augment


@pytest.mark.parametrize("gradient", ["joint", "separate"])
@pytest.mark.parametrize(
    ("objective", "keywords", "at"),
    [
        ("simclr", {}, 6),
        ("simclr", {"estimator": "mine"}, 6),
        ("simclr", {"estimator": "nwj"}, 6),
        ("moco", {"negatives": {"source": "queue", "queue_size": 64}}, 5),  # of a key
        ("moco", {"negatives": {"source": "queue", "queue_size": 64}}, 6),  # of an anchor
    ],
)
def test_a_pixel_that_is_once_no_number(gradient, objective, keywords, at):
    model, losses = make_model("DQN"), []
    callback = ContrastiveCallback(
        objective, {"augment": broken_once([], at), **keywords}, batch_size=4, gradient=gradient, share_passes=False
    )
    add = Monitors.add

    def noted(self, metrics, windows):
        losses.append(float(metrics[objective]["loss"]))
        add(self, metrics, windows)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.warns(UserWarning, match="of 1 of the last .* was not finite, and they were"),
    ):
        patch.setattr(Monitors, "add", noted)
        model.learn(100, callback=callback)
    (head,) = callback.heads.values()
    assert all(torch.isfinite(p).all() for p in [*model.policy.parameters(), *head.parameters])
    assert len(losses) > 10 and sum(map(math.isnan, losses)) == 1
    for buffer in head.terms[objective].objective.buffers():
        assert not torch.isnan(buffer).any() and not torch.isposinf(buffer).any()


def test_a_margin_that_is_kept_everywhere_is_no_want_of_pairs():
    class Margin(Plain):
        def forward(self, encoder, windows):
            features = encoder(windows.observations[:, 0])
            return (features.square().sum() - 1e9).clamp(min=0), {}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, callback = make_model("DQN"), ContrastiveCallback(Margin, batch_size=4)
        model.learn(150, callback=callback)
    assert callback._head_steps > 20


def test_maps_of_convolutions_that_the_user_froze():
    model = make_model("PPO")
    for parameter in model.policy.features_extractor.cnn.parameters():
        parameter.requires_grad_(False)
    before = {name: p.clone() for name, p in model.policy.features_extractor.named_parameters()}
    callback = ContrastiveCallback("stdim", batch_size=8)
    with pytest.warns(UserWarning, match="none was seen there: .* or these layers are frozen. Give coef a number"):
        model.learn(64, callback=callback)
    assert callback._head_steps > 0
    model.learn(64, callback=ContrastiveCallback("stdim", batch_size=8, coef=0.1))
    for name, parameter in model.policy.features_extractor.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("cnn")
