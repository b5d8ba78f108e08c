"""Several objectives in one head, with weights."""

import copy

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpc_rl import CPC, CURL, ContrastiveCallback
from cpc_rl.injection import Injection
from tests.algorithms import ALGORITHMS, make_model, same_parameters, steps
from tests.test_callback_lifecycle import equal


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN", "TRPO"])
def test_all_objectives_learn_and_ride_in_the_zip(name, tmp_path):
    keywords = {"objective": {"curl": 1, "cpc": 2}, "objective_kwargs": {"cpc": {"horizon": 2}}, "batch_size": 4}
    model = make_model(name)
    first = ContrastiveCallback(**keywords)
    model.learn(steps(name), callback=first)
    (head,) = first.heads.values()
    assert list(head.terms) == ["curl", "cpc"] and head.terms["cpc"].objective.horizon == 2
    fresh = ContrastiveCallback(**keywords)
    make_model(name).learn(0, callback=fresh)
    (untrained,) = fresh.heads.values()
    for term, before in zip(head.terms.values(), untrained.terms.values(), strict=True):
        for (parameter, value), old in zip(term.objective.named_parameters(), before.objective.parameters(), strict=True):
            assert value.requires_grad is False or not torch.equal(value, old), parameter
    state = copy.deepcopy(head.state_dict())
    model.save(tmp_path / "model.zip")
    loaded = ALGORITHMS[name].load(tmp_path / "model.zip", env=model.get_env())
    again = ContrastiveCallback(**keywords)
    loaded.learn(0, callback=again, reset_num_timesteps=False)
    assert equal(next(iter(again.heads.values())).state_dict(), state)


def test_a_single_objective_is_the_same_with_and_without_a_mapping():
    models = []
    for objective in ("curl", {"curl": 1}, {CURL: 1.0}):
        model = make_model("DQN")
        models.append(model.learn(60, callback=ContrastiveCallback(objective, batch_size=4)))
    assert same_parameters(models[0], models[1]) and same_parameters(models[0], models[2])


def test_a_weight_multiplies_the_coefficient_and_coef_zero_leaves_the_agent_alone():
    plain = make_model("PPO").learn(64)
    watched = make_model("PPO")
    watched.learn(64, callback=ContrastiveCallback({"curl": 1, "cpc": 3}, coef=0, batch_size=4))
    assert same_parameters(plain, watched)
    results = []
    for objective, coef in (({"curl": 4}, 0.25), ({"curl": 1}, 1.0), ({"curl": 1}, 0.25)):
        results.append(make_model("PPO").learn(64, callback=ContrastiveCallback(objective, coef=coef, batch_size=4)))
    assert same_parameters(results[0], results[1]) and not same_parameters(results[0], results[2])


def test_a_held_ratio_is_of_each_objective_times_its_weight():
    model = make_model("PPO")
    reports = []

    class Watch(ContrastiveCallback):
        def _on_rollout_end(self):
            super()._on_rollout_end()
            self._injections[0].report = lambda metrics, windows: reports.append(metrics)

    model.learn(64, callback=Watch({"curl": 1, CPC: 3}, coef="ratio", gradient_ratio=0.5, batch_size=8))
    assert float(reports[0]["curl"]["gradient_ratio"]) == pytest.approx(0.5, rel=1e-4)
    assert float(reports[0]["cpc"]["gradient_ratio"]) == pytest.approx(1.5, rel=1e-4)


@pytest.mark.parametrize("other", ["curl", "cpc"])
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_the_agents_gradient_at_the_map_is_not_taken_with_the_other_heads(other, ratio, monkeypatch):
    """Beside an objective whose gradient joins the agent's at the features, what comes to the map is of both."""

    def norms(objective, ratio):
        seen = []
        note = Injection._note_map_norm

        def watched(self, norms):
            note(self, norms)
            if norms.maps is not None:
                seen.append((float(self._map_norm), float(norms.maps)))

        with monkeypatch.context() as patch:
            patch.setattr(Injection, "_note_map_norm", watched)
            model = make_model("PPO", n_steps=64, n_epochs=1, batch_size=32)
            model.learn(64, callback=ContrastiveCallback(objective, batch_size=32, coef="ratio", gradient_ratio=ratio))
        return seen[0]

    alone, come = norms({"stdim": 1}, ratio)
    assert alone == come
    estimated, come = norms({"stdim": 1, other: 1}, ratio)
    assert come > 1.3 * alone  # the first update: the same weights and minibatch
    assert abs(estimated - alone) < min(0.6 * alone, 0.7 * (come - alone))


def test_separate_mode_moves_the_encoder_once_for_all_and_weights_count():
    results = []
    for objective in ({"curl": 1, "cpc": 1}, {"curl": 1, "cpc": 100}):
        model = make_model("DQN")
        callback = ContrastiveCallback(objective, gradient="separate", batch_size=4)
        model.learn(60, callback=callback)
        (head,) = callback.heads.values()
        assert head.optimizer is not None
        in_optimizer = [p for group in head.optimizer.param_groups for p in group["params"]]
        assert len(in_optimizer) == len({id(p) for p in in_optimizer})
        assert {id(p) for p in head.encoder_parameters} <= {id(p) for p in in_optimizer}
        results.append(model)
    assert not same_parameters(*results)


def test_tensorboard_tells_the_objectives_apart(tmp_path):
    model = make_model("PPO", tensorboard_log=str(tmp_path))
    model.learn(160, callback=ContrastiveCallback({"curl": 1, "cpc": 2}, batch_size=8))
    (folder,) = tmp_path.iterdir()
    tags = set(EventAccumulator(str(folder)).Reload().Tags()["scalars"])
    for name in ("curl", "cpc"):
        assert {f"contrastive/{name}/{what}" for what in ("loss", "accuracy", "mi_ceiling", "coef", "gradient_ratio")} <= tags
    assert "contrastive/coef" not in tags and "representation/effective_rank" in tags


@pytest.mark.parametrize(
    ("objective", "keywords", "said"),
    [
        ({}, {}, "at least one objective"),
        ({"curl": 0}, {}, "weight of the objective .curl. is 0, .* above 0"),
        ({"curl": 1, "cpd": 1}, {}, "no objective 'cpd'"),
        ({"curl": 1}, {"tau": 0.1}, "by its name"),
        ({"curl": 1}, {"cpc": {}}, "by its name"),
        ({"curl": 1}, {"curl": {"stride": 1}}, "'curl' has no keyword 'stride'; it has tau, horizon"),
        ("cpc", {"steps": 3}, "'cpc' has no keyword 'steps'; it has horizon, context"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(objective, keywords, said):
    with pytest.raises(ValueError, match=said):
        ContrastiveCallback(objective, keywords)
