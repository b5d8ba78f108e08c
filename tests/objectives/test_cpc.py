import math

import numpy as np
import pytest
import torch

from cpc_rl.objectives import CPC
from tests.objectives.head_checks import as_read
from tests.synthetic import ACTIONS, held_out, make_encoder, rolling_patterns, train


def loop_cpc(cpc: CPC, encoder, windows) -> float:
    """The loss, window by window and step by step, from the paper's equations."""
    observations, actions, mask = windows.observations, windows.actions, windows.mask
    batch_size, length = mask.shape
    z = [[as_read(encoder(observations[b, i][None])[0], cpc.feature_length) for i in range(length)] for b in range(batch_size)]
    per_step = []
    for k in range(1, cpc.steps + 1):
        losses = []
        for b in range(batch_size):
            for t in range(length - k):
                if not mask[b, t + k]:
                    continue
                state = torch.zeros(1, 1, cpc.context_gru.hidden_size)
                for i in range(t if cpc.single else 0, t + 1):
                    entry = z[b][i]
                    if cpc.actions:
                        entry = torch.cat([entry, actions[b, i - 1] if i > 0 else torch.zeros(ACTIONS)])
                    state = cpc.context_gru(entry[None, None], state)[1]
                c = state[0]
                if cpc.actions:
                    for j in range(k):
                        c = cpc.action_gru(actions[b, t + j][None], c)
                prediction = cpc.W[k - 1].weight @ c[0]
                scores = {(o, i): float(prediction @ z[o][i]) for o in range(batch_size) for i in range(length) if mask[o, i]}
                losses.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[b, t + k])
        per_step.append(np.mean(losses))
    return float(np.mean(per_step))


@pytest.mark.parametrize("length", [None, 7.0])
@pytest.mark.parametrize("actions", [False, True])
@pytest.mark.parametrize(("steps", "context"), [(1, 1), (3, 2)])
def test_loss_equals_a_literal_loop(actions, steps, context, length):
    encoder = make_encoder(16)
    keywords = {"context_dim": 8, "actions": actions, "feature_length": length, "augment": None}
    cpc = CPC(encoder, ACTIONS, horizon=steps, context=context, **keywords)
    for p in cpc.parameters():
        p.data.mul_(3)
    assert cpc.horizon == context + steps - 1
    windows = rolling_patterns(5, cpc.horizon + 1, 3)
    windows.mask[1, 2:] = False
    windows.mask[3, -1] = cpc.horizon < 2  # an episode that ends before the window does
    with torch.no_grad():
        loss, metrics = cpc(encoder, windows)
        assert float(loss) == pytest.approx(loop_cpc(cpc, encoder, windows), rel=1e-4)
    assert float(metrics["loss"]) == float(loss)


def test_frames_beyond_the_episode_change_nothing():
    encoder = make_encoder(16)
    cpc = CPC(encoder, ACTIONS, horizon=2, context=2, augment=None)
    windows = rolling_patterns(6, 4, 3)
    windows.mask[2, 2:] = False
    loss = cpc(encoder, windows)[0].detach()
    windows.observations[2, 2:] = 77
    assert float(cpc(encoder, windows)[0].detach()) == pytest.approx(float(loss), rel=1e-6)


@pytest.mark.parametrize("actions", [False, True])
def test_every_parameter_gets_a_gradient_and_both_sides_train_the_encoder(actions):
    encoder = make_encoder(16)
    cpc = CPC(encoder, ACTIONS, horizon=3, context=2, actions=actions)
    cpc(encoder, rolling_patterns(16, cpc.horizon + 1, 0))[0].backward()
    for name, p in [*cpc.named_parameters(), *encoder.named_parameters()]:
        assert p.grad is not None and p.grad.abs().sum() > 0, name
    assert not {id(p) for p in encoder.parameters()} & {id(p) for p in cpc.parameters()}


def test_cpc_learns_the_future_and_shuffled_or_independent_futures_stay_at_chance():
    encoder = make_encoder()
    cpc = CPC(encoder, ACTIONS, actions=True, augment=None)
    train(cpc, encoder, 160)
    assert held_out(cpc, encoder)["accuracy"] > 0.2  # chance is 1/128
    assert held_out(cpc, encoder, structure=False)["accuracy"] < 0.1
    for keywords, structure in [({"shuffled": True}, True), ({}, False)]:
        encoder = make_encoder()
        cpc = CPC(encoder, ACTIONS, actions=True, augment=None, **keywords)
        train(cpc, encoder, 160, structure)
        result = held_out(cpc, encoder, structure)
        assert result["accuracy"] < 0.1 and result["mi_lower_bound"] < 0.05


def test_actions_tell_where_the_pattern_goes():
    results = []
    for actions in (False, True):
        encoder = make_encoder()
        cpc = CPC(encoder, ACTIONS, actions=actions, augment=None)
        train(cpc, encoder, 320)
        results.append(held_out(cpc, encoder)["mi_lower_bound"])
    assert results[1] > results[0]


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        CPC(make_encoder(), ACTIONS, horizon=0)
    with pytest.raises(ValueError, match="action_dim"):
        CPC(make_encoder(), 0, actions=True)
