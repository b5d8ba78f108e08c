import math

import numpy as np
import pytest
import torch

from cpc_rl.objectives.taco import TACO
from tests.objectives.head_checks import check_beyond_the_end, check_gradients, check_round_trip, ragged
from tests.synthetic import ACTIONS, held_out, make_encoder, rolling_patterns, train


def layer_norm_tanh(x, layer):
    return torch.tanh((x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5) * layer.weight + layer.bias)


def loop_taco(taco: TACO, encoder, windows) -> dict[str, float]:
    """The three terms, pair by pair, from section 3 of the paper."""
    k, batch = taco.horizon, range(len(windows.mask))

    def state(i, t):
        return layer_norm_tanh(taco.projection[0](encoder(windows.observations[i, t][None]))[0], taco.projection[1])

    taco_losses, curl_losses, errors = [], [], []
    for i in batch:
        z = state(i, 0)
        scores = [float(z @ taco.W @ state(j, 0)) for j in batch]
        curl_losses.append(math.log(sum(math.exp(s) for s in scores)) - scores[i])
        if not windows.mask[i, k]:
            continue
        first, last = taco.action_embedding[0], taco.action_embedding[2]
        u = [last.weight @ torch.tanh(first.weight @ windows.actions[i, t] + first.bias) + last.bias for t in range(k)]
        sequence = layer_norm_tanh(taco.sequence_embedding[0](torch.cat(u)), taco.sequence_embedding[1])
        p = taco.predictor(torch.cat([z, sequence]))
        scores = {j: float(p @ taco.W @ state(j, k)) for j in batch if windows.mask[j, k]}
        taco_losses.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[i])
        predicted = float(taco.reward_predictor(torch.cat([z, sequence])))
        errors.append((predicted - sum(float(windows.rewards[i, t]) for t in range(k))) ** 2)
    return {
        name: float(np.mean(v)) for name, v in zip(["taco", "curl", "reward"], [taco_losses, curl_losses, errors], strict=True)
    }


@pytest.mark.parametrize("horizon", [1, 3])
def test_losses_equal_a_literal_loop(horizon):
    encoder = make_encoder(16)
    taco = TACO(encoder, ACTIONS, horizon=horizon, latent_dim=8, hidden_dim=12, reward=True, augment=None)
    assert taco.action_embedding[2].out_features == 6  # int(1.25 * 4) + 1
    taco.W.data.normal_(generator=torch.Generator().manual_seed(1))
    windows = ragged(taco, 7)
    with torch.no_grad():
        loss, metrics = taco(encoder, windows)
        expected = loop_taco(taco, encoder, windows)
    for name, value in expected.items():
        assert float(metrics[f"{name}_loss"]) == pytest.approx(value, rel=1e-4), name
    assert float(loss) == float(metrics["loss"]) == pytest.approx(sum(expected.values()), rel=1e-4)
    assert float(metrics["mi_lower_bound"]) == pytest.approx(math.log(5) - expected["taco"], rel=1e-3)


def test_gradients_round_trip_and_what_is_beyond_the_end():
    encoder = make_encoder(16)
    check_gradients(TACO(encoder, ACTIONS, horizon=2, reward=True), encoder)
    check_beyond_the_end(TACO(encoder, ACTIONS, horizon=2, reward=True), encoder)
    queue = {"source": "queue", "queue_size": 16}
    check_round_trip(lambda e: TACO(e, ACTIONS, horizon=2, curl=False, negatives=queue), encoder)


def test_keys_take_no_gradient():
    encoder = make_encoder(16)
    taco = TACO(encoder, ACTIONS, horizon=1, curl=False)
    with encoder.recording() as recording:
        taco(encoder, rolling_patterns(4, 2, 0))
    assert len(recording.outputs) == 1


def test_taco_learns_where_actions_lead_and_shuffled_or_independent_futures_stay_at_chance():
    encoder = make_encoder()
    taco = TACO(encoder, ACTIONS, horizon=1, curl=False, augment=None)
    train(taco, encoder, 150)
    assert held_out(taco, encoder)["accuracy"] > 0.4  # chance is 1/64
    windows = rolling_patterns(64, 2, 7)
    other_actions = windows._replace(actions=windows.actions.roll(1, -1))
    assert taco(encoder, other_actions)[0] > taco(encoder, windows)[0] + 0.5
    assert held_out(taco, encoder, structure=False)["accuracy"] < 0.1
    for keywords, structure in [({"shuffled": True, "curl": True}, True), ({"curl": False}, False)]:
        encoder = make_encoder()
        taco = TACO(encoder, ACTIONS, horizon=1, augment=None, **keywords)
        train(taco, encoder, 100, structure)
        result = held_out(taco, encoder, structure)
        assert result["accuracy"] < 0.1 and result["mi_lower_bound"] < 0.05
        assert result.get("curl_accuracy", 0.0) < 0.1


def test_rewards_are_predicted_from_the_actions_unless_they_are_shuffled():
    for shuffled in (False, True):
        encoder = make_encoder()
        taco = TACO(encoder, ACTIONS, horizon=2, curl=False, reward=True, shuffled=shuffled)
        optimizer = torch.optim.Adam(taco.parameters(), lr=1e-3)
        taco.generator = torch.Generator().manual_seed(0)
        for update in range(60):
            windows = rolling_patterns(64, 3, update)
            windows.rewards[:] = 4 * windows.actions[:, :, 0] - 1  # variance of the sum: 2 * 16 * 3/16 = 6
            loss, metrics = taco(encoder, windows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert (metrics["reward_loss"] < 1) != shuffled and (metrics["reward_loss"] > 4) == shuffled


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="actions"):
        TACO(make_encoder(), 0)
    with pytest.raises(ValueError, match="horizon"):
        TACO(make_encoder(), ACTIONS, horizon=0)
    with pytest.raises(ValueError, match="queue"):
        TACO(make_encoder(), ACTIONS, negatives="queue")
