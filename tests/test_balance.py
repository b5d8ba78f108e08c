"""``coef``: a number, a held ratio of norms, or as much of it as the head has to teach."""

import math

import pytest
import torch

from cpc_rl import ContrastiveCallback
from cpc_rl.balance import Balance
from cpc_rl.objectives import CPC
from cpc_rl.shared import Shared
from tests.algorithms import make_model
from tests.synthetic import make_encoder

ONE, RL_NORM, AUXILIARY_NORM = torch.tensor(1.0), torch.tensor(6.0), torch.tensor(2.0)


def test_the_ratio_is_held_whatever_the_head_knows():
    for known in (None, torch.tensor(0.0), torch.tensor(0.99)):
        coef = Balance("ratio", 0.5).coefficient(RL_NORM, AUXILIARY_NORM, 1.0, known)
        assert float(coef * AUXILIARY_NORM / RL_NORM) == pytest.approx(0.5)


def said(balance: Balance, known: float, steps: int = 1, keeps_length: bool = False) -> float:
    """The share of the ratio that is held after so many more batches of which so much is known."""
    for _ in range(steps):
        coef = balance.coefficient(RL_NORM, AUXILIARY_NORM, 1.0, torch.tensor(known), keeps_length)
    return float(coef * AUXILIARY_NORM / RL_NORM) / balance.ratio


@pytest.mark.parametrize(("known", "share"), [(0.5, 1.0), (0.6, 0.96), (0.95, 0.19), (1.0, 0.05)])
def test_auto_gives_a_head_the_less_say_the_more_it_knows_beyond_a_half(known, share):
    assert said(Balance("auto", 0.5), known) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("known", [0.5, 0.6, 0.95, 1.0])
def test_a_head_that_cannot_lengthen_features_keeps_all_of_its_say(known):
    balance = Balance("auto", 0.5)
    assert said(balance, known, keeps_length=True) == pytest.approx(1.0, abs=1e-6)
    assert said(balance, 0.0, 900, keeps_length=True) == pytest.approx(0.05, abs=5e-3)  # until it knows nothing
    assert [CPC(make_encoder(), 4, feature_length=length).keeps_length for length in (7.0, None)] == [True, False]


@pytest.mark.parametrize("known", [-3.0, -0.1, 0.0])
def test_a_head_that_knows_nothing_is_given_time_and_no_more(known):
    balance = Balance("auto", 0.5)
    assert said(balance, known) > 0.99
    credit = float(balance.credit)
    assert said(balance, 0.0, 99) > 0.7
    assert said(balance, 0.0, 900) == pytest.approx(0.05)
    assert 0 <= float(balance.credit) < 0.01 * credit or known < 0


def test_a_head_that_no_longer_knows_is_heard_again():
    balance = Balance("auto")
    assert said(balance, 0.95, 200) == pytest.approx(0.19, abs=0.01)
    assert said(balance, 0.0, 130) > 0.95
    assert said(balance, 0.0, 1200) == pytest.approx(0.05, abs=1e-4)


def test_without_a_bound_auto_is_ratio():
    coefs = [Balance(kind, 0.5).coefficient(RL_NORM, AUXILIARY_NORM, 1.0) for kind in ("auto", "ratio")]
    assert torch.equal(*coefs)


def test_what_is_known_follows_the_batches_slowly_and_survives_a_bad_one():
    balance = Balance("auto")
    for value in (0.5, 1.0, float("nan")):
        balance.coefficient(RL_NORM, AUXILIARY_NORM, 1.0, torch.tensor(value, dtype=torch.float64))
    expected = (0.5 * 0.95 + 0.05) * 0.95  # the bad batch counts as one of which nothing is known
    assert float(balance.known) == pytest.approx(expected)
    assert float(Balance(0.3).coefficient(ONE, ONE, 1.0, ONE)) == pytest.approx(0.3)


def test_once_its_time_is_over_the_agent_hardly_hears_a_head_of_wrong_positives():
    """At a held ratio it drowns in them; by default the head earns no say by what it does."""
    shares = {}
    for coef in ("auto", "ratio"):
        seen = []

        class Watch(ContrastiveCallback):
            def _on_rollout_end(self, seen=seen):
                super()._on_rollout_end()
                for head in () if seen else self.heads.values():
                    head.terms["cpc"].balance.credit.zero_()
                self._injections[0].report = lambda metrics, windows: seen.append(float(metrics["cpc"]["gradient_ratio"]))

        make_model("PPO", 2, n_epochs=4).learn(
            256, callback=Watch("cpc", {"shuffled": True, "feature_length": None}, coef=coef, batch_size=16)
        )
        shares[coef] = sum(seen) / len(seen)
    assert shares["ratio"] > 0.5 and shares["auto"] < 0.2 * shares["ratio"]


def test_the_state_of_a_version_that_did_not_know_goes_on():
    callback = ContrastiveCallback("curl", batch_size=4)
    make_model("PPO").learn(64, callback=callback)
    (head,) = callback.heads.values()
    state = head.state_dict()
    assert state["terms"]["curl"]["balance"].pop("known") >= -1
    norm = state["terms"]["curl"]["balance"]["rl_norm"] = torch.tensor(7.0)
    head.load_state_dict(state)
    assert head.terms["curl"].balance.rl_norm == norm


def test_telling_the_kinds_of_keys_apart_is_no_information():
    """Keys of frame 0 are another kind than the positives. A head that knows a key's kind alone knows nothing."""
    torch.manual_seed(0)
    model = make_model("PPO", 2)
    callback = ContrastiveCallback("cpc", {"feature_length": None}, batch_size=16)
    model.learn(64, callback=callback)
    (head,) = callback.heads.values()
    objective, size = head.terms["cpc"].objective, 16
    windows = callback._draw(head, ("cpc",))["cpc"]
    objective.context = lambda z, actions: torch.ones(size, 1, 256)
    anchors, keys = torch.zeros(size, head.encoder.features_dim), torch.ones(size, head.encoder.features_dim)
    with torch.no_grad():
        _, metrics = objective(head.encoder, windows, Shared(anchors, keys))
        objective.W[0].weight.fill_(1.0)
        known, at_best = objective(head.encoder, windows, Shared(anchors, keys))
    count = int(windows.mask[:, 1].sum())
    assert float(known) == pytest.approx(math.log(count), abs=1e-4)  # of all the 2 * 16 keys but those beyond an episode's end
    for figures in (metrics, at_best):
        assert float(figures["mi_ceiling"]) == pytest.approx(math.log(count), abs=1e-5)
        assert float(figures["mi_lower_bound"]) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("coef", ["ratio", "auto"])
def test_steps_without_a_gradient_leave_the_ratio_what_it_is(coef):
    """No anchor had a positive and a negative: the averages used to lag apart, up to an infinite coefficient times zero."""
    nothing = torch.tensor(0.0)
    balance = Balance(coef, 0.5)
    before = {name: value.clone() for name, value in balance.state_dict().items()}
    for _ in range(300):
        assert float(balance.coefficient(RL_NORM, nothing, 1.0, torch.tensor(-4.0))) == 0
    assert balance.state_dict() == before
    for _ in range(3):
        assert said(balance, 0.5) == pytest.approx(1.0)
        assert float(balance.coefficient(RL_NORM, nothing, 1.0)) == 0
    least = torch.tensor(1e-42)  # below what float32 divides by
    assert math.isfinite(float(Balance(coef).coefficient(RL_NORM * 1e9, least, 1.0, torch.tensor(0.5)) * least))
