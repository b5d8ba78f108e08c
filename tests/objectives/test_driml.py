import math

import numpy as np
import pytest
import torch

from cpc_rl.encoder import Encoder
from cpc_rl.objectives.driml import DRIML, TERMS
from tests.objectives.head_checks import as_read, maps_as_read
from tests.objectives.map_encoder import make_map_encoder, make_two_map_encoder
from tests.objectives.training import assert_gradients, held_out_on, loss_from, scrambled_beyond_the_end, train_on
from tests.synthetic import ACTIONS, rolling_patterns


def numbers(module) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in module.named_parameters()}


def residual(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(weights["hidden.weight"] @ x + weights["hidden.bias"], 0)
    return weights["out.weight"] @ hidden + weights.get("out.bias", 0) + weights["shortcut.weight"] @ x


@torch.no_grad()
def loop_driml(driml: DRIML, encoder: Encoder, windows) -> float:
    """Literal: in each contrast, for each position and anchor, one cross-entropy over the batch."""
    valid = [i for i in range(len(windows.mask)) if windows.mask[i, driml.horizon]]
    observations = windows.observations
    states = []
    for t in (0, driml.horizon):
        images = {k: v[:, t] for k, v in observations.items()} if isinstance(observations, dict) else observations[:, t]
        features, maps = encoder.with_maps(images)
        length = driml.feature_length
        features = torch.stack([as_read(row, length) for row in features])
        maps = {k: maps_as_read(v, length) for k, v in maps.items()}
        states.append({None: features.double().numpy(), **{k: v.double().numpy() for k, v in maps.items()}})
    first_actions = windows.actions[:, 0].double().numpy()
    actions = [residual(numbers(driml.action_encoder), a) for a in first_actions]
    means = []
    for (at, later_at), phi, psi in zip(driml.contrasts, driml.anchor_heads, driml.key_heads, strict=True):
        size = states[0][at or later_at].shape[2:] if at or later_at else (1, 1)
        losses = []
        for y, x in np.ndindex(size):
            here = [states[0][at][i] if at is None else states[0][at][i, :, y, x] for i in range(len(actions))]
            later = [
                states[1][later_at][i] if later_at is None else states[1][later_at][i, :, y, x] for i in range(len(actions))
            ]
            anchors = [residual(numbers(phi), np.concatenate([s, a])) for s, a in zip(here, actions, strict=True)]
            keys = [residual(numbers(psi), s) for s in later]
            for i in valid:
                scores = [20 * math.tanh(anchors[i] @ keys[j] / math.sqrt(driml.latent_dim) / 20) for j in valid]
                losses.append(math.log(sum(math.exp(s) for s in scores)) - scores[valid.index(i)])
        means.append(np.mean(losses))
    return float(np.mean(means))


def sharpened(driml: DRIML) -> DRIML:
    for p in driml.parameters():
        p.data.mul_(3)
    return driml


@pytest.mark.parametrize(
    ("terms", "horizon", "length"),
    [(TERMS, 1, None), (TERMS, 2, None), (TERMS, 1, 2.0), *(([term], 1, None) for term in TERMS)],
)
def test_loss_equals_a_literal_loop(terms, horizon, length):
    encoder = make_map_encoder(8, stride=2)
    sizes = {"latent_dim": 6, "hidden_dim": 10, "action_latent_dim": 3}
    driml = sharpened(DRIML(encoder, ACTIONS, horizon=horizon, terms=terms, feature_length=length, **sizes))
    windows = rolling_patterns(5, horizon + 1, 0)
    windows.mask[2, horizon:] = False
    loss, metrics = driml(encoder, windows)
    expected = loop_driml(driml, encoder, windows)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4) and abs(expected - math.log(4)) > 0.05
    assert float(metrics["mi_lower_bound"]) == pytest.approx(math.log(4) - expected, abs=1e-4)


def test_image_entries_have_their_own_maps_and_one_global_contrast():
    encoder = make_two_map_encoder()
    driml = sharpened(DRIML(encoder, ACTIONS, latent_dim=6))
    assert len(driml.contrasts) == 2 * 3 + 1
    front, rear = rolling_patterns(4, 2, 0), rolling_patterns(4, 2, 1)
    windows = front._replace(observations={"front": front.observations, "rear": rear.observations})
    assert float(driml(encoder, windows)[0].detach()) == pytest.approx(loop_driml(driml, encoder, windows), rel=1e-4)


def test_every_parameter_gets_a_gradient():
    encoder = make_map_encoder()
    assert_gradients(DRIML(encoder, ACTIONS), encoder, rolling_patterns(16, 2, 0))
    assert DRIML.local


def test_what_is_beyond_an_episodes_end_changes_nothing():
    encoder = make_map_encoder()
    driml = DRIML(encoder, ACTIONS, horizon=2)
    windows = rolling_patterns(6, 3, 3)
    windows.mask[2, 2:] = False
    windows.mask[4, 1:] = False
    assert loss_from(driml, encoder, windows) == loss_from(driml, encoder, scrambled_beyond_the_end(windows))


def test_the_action_tells_where_each_field_comes_from():
    encoder = make_map_encoder()
    driml = DRIML(encoder, ACTIONS)
    train_on(rolling_patterns, driml, encoder, 80)
    right = held_out_on(rolling_patterns, driml, encoder)
    assert right["accuracy"] > 0.12  # chance is 1/64, at every single position

    def wrong_actions(*arguments):
        windows = rolling_patterns(*arguments)
        return windows._replace(actions=windows.actions.roll(1, dims=2))

    wrong = held_out_on(wrong_actions, driml, encoder)
    assert wrong["mi_lower_bound"] < right["mi_lower_bound"] - 0.3
    independent = held_out_on(rolling_patterns, driml, encoder, structure=False)
    assert independent["accuracy"] < 0.04 and independent["mi_lower_bound"] < 0


def test_nothing_is_learnt_of_shuffled_pairs():
    encoder = make_map_encoder()
    driml = DRIML(encoder, ACTIONS, shuffled=True)
    train_on(rolling_patterns, driml, encoder, 40)
    result = held_out_on(rolling_patterns, driml, encoder)
    assert result["accuracy"] < 0.04 and result["mi_lower_bound"] < 0.02


def test_the_state_survives_a_round_trip():
    encoder = make_map_encoder()
    driml, other = (DRIML(encoder, ACTIONS, augment="random_shift") for _ in range(2))
    windows = rolling_patterns(6, 2, 0)
    assert loss_from(driml, encoder, windows) != loss_from(other, encoder, windows)
    other.load_state_dict(driml.state_dict())
    assert loss_from(driml, encoder, windows) == loss_from(other, encoder, windows)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="DRIML needs to know the actions"):
        DRIML(make_map_encoder())
    with pytest.raises(ValueError, match="horizon is 0"):
        DRIML(make_map_encoder(), ACTIONS, horizon=0)
    for terms in ([], ["local"], ["global_global"] * 2):
        with pytest.raises(ValueError, match="names one or more of local_local"):
            DRIML(make_map_encoder(), ACTIONS, terms=terms)
