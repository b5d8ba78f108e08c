"""The running means that an estimator keeps: one for each contrast of an objective, and one for what is reported."""

import pytest
import torch
from gymnasium import spaces

from cpc_rl.encoder import Encoder
from cpc_rl.objectives import CPC, CURL, DRIML, STDIM, TACO, Multiview
from tests.objectives.map_encoder import FieldCNN, make_map_encoder
from tests.objectives.test_contrastive import windows_of_few_trajectories
from tests.synthetic import ACTIONS, SPACE, held_out, make_encoder, rolling_patterns, train


def make_objectives_of_several_contrasts(estimator: str):
    encoder, maps = make_encoder(), make_map_encoder()
    two_views = Encoder({"a": FieldCNN(8), "b": FieldCNN(9)}, spaces.Dict({"a": SPACE, "b": SPACE}))
    return [
        (CPC(encoder, ACTIONS, horizon=3, estimator=estimator), encoder, 3),
        (TACO(encoder, ACTIONS, estimator=estimator), encoder, 2),
        (STDIM(maps, ACTIONS, estimator=estimator), maps, 2),
        (DRIML(maps, ACTIONS, terms=["local_global", "global_global"], estimator=estimator), maps, 2),
        (Multiview(two_views, ACTIONS, estimator=estimator), two_views, 2),
    ]


@pytest.mark.parametrize("estimator", ["nwj", "mine"])
def test_each_contrast_has_a_running_mean_of_its_own(estimator):
    for objective, encoder, contrasts in make_objectives_of_several_contrasts(estimator):
        windows = rolling_patterns(16, objective.horizon + 1, 0)
        if encoder.is_dict:
            windows = windows._replace(observations=dict.fromkeys(encoder.extractors, windows.observations))
        seen: dict[int, float] = {}

        def note(bound, args, kwargs, seen=seen):
            scores, _, negatives = args
            if not kwargs.get("reported"):
                seen[kwargs["which"]] = float(scores.detach().double()[negatives].exp().mean().log())

        with objective.bound.register_forward_pre_hook(note, with_kwargs=True):
            objective(encoder, windows)
        assert sorted(seen) == list(range(contrasts))
        kept = objective.bound.log_means[0].tolist()
        assert kept == pytest.approx([seen[which] for which in range(contrasts)], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("estimator", ["nwj", "jsd"])
def test_what_is_reported_of_mined_negatives_has_the_constant_of_the_whole_batch(estimator):
    encoder = make_encoder(16)
    curl = CURL(encoder, negatives="hard", estimator=estimator, augment=None)
    windows = windows_of_few_trajectories(12, 1)
    _, metrics = curl(encoder, windows)
    with torch.no_grad():
        images = windows.observations[:, 0]
        scores = curl.read(encoder(images)) @ curl.W @ curl.read(curl.key_encoder(images)).T
        others = ~torch.eye(12, dtype=torch.bool)
        best = scores - scores[others].exp().mean().log()
        estimate = best.diagonal().mean() - best[others].exp().mean() + 1  # nwj of best + 1, and what jsd is read out by
        assert float(metrics[f"mi_{estimator}"]) == pytest.approx(float(estimate), rel=1e-4, abs=1e-5)
        kept = curl.bound.log_means.clone()
        assert float(kept[0, 0]) > float(kept[1, 0])  # the hard ones score higher
        curl(encoder, windows_of_few_trajectories(12, 1, seed=1))
    assert torch.equal(curl.bound.log_means, kept)


def test_taco_learns_its_actions_with_a_bound_that_has_a_constant_for_each_of_its_contrasts():
    """With one for both its bound was below 0 after as many updates: CURL's scores, far higher, had the say."""
    encoder = make_encoder()
    taco = TACO(encoder, ACTIONS, estimator="jsd")
    train(taco, encoder, 300)
    assert held_out(taco, encoder)["mi_lower_bound"] > 0.5
