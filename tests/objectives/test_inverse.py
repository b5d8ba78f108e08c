import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cpc_rl.objectives.inverse import Inverse
from cpc_rl.sampling import ActionLayout, Windows, action_dim, encode_actions
from tests.objectives.head_checks import check_beyond_the_end, check_gradients, check_round_trip, ragged
from tests.synthetic import ACTIONS, held_out, make_encoder, rolling_patterns, train

SPACES = {
    "categorical": spaces.MultiDiscrete([3, 2]),
    "binary": spaces.MultiBinary(2),
    "continuous": spaces.Box(-2.0, 2.0, (2,)),
}


def brightness(space: spaces.Space, batch_size: int, length: int, seed: int, structure: bool = True) -> Windows:
    """The first component of an action brightens the upper half of the picture, the second the lower half."""
    windows = rolling_patterns(batch_size, length, seed)
    space.seed(seed)
    taken = np.array([[space.sample() for _ in range(length - 1)] for _ in range(batch_size)])
    light = torch.zeros(batch_size, length, 2)
    light[:, 1:] = torch.from_numpy(taken).float().cumsum(dim=1) if structure else torch.rand(batch_size, length - 1, 2)
    light = light.repeat_interleave(18, dim=2)[:, :, None, :, None]
    images = windows.observations[:, :1] / 4 + 96 + 20 * light
    return windows._replace(observations=images.to(torch.uint8), actions=torch.from_numpy(encode_actions(taken, space)))


def fit(inverse: Inverse, encoder, space: spaces.Space, updates: int) -> None:
    optimizer = torch.optim.Adam([*encoder.parameters(), *inverse.parameters()], lr=1e-3)
    for update in range(updates):
        optimizer.zero_grad()
        inverse(encoder, brightness(space, 64, inverse.horizon + 1, 1000 + update))[0].backward()
        optimizer.step()


def loop_inverse(inverse: Inverse, encoder, windows) -> tuple[float, float]:
    """Loss and accuracy (or r2), action by action."""
    k = inverse.horizon
    losses, right, pairs = [], [], []
    for i in range(len(windows.mask)):
        if not windows.mask[i, k]:
            continue
        z = torch.cat([encoder(windows.observations[i, t][None])[0] for t in (0, k)])
        outputs = inverse.predictor(z).view(k, -1)
        for out, action in zip(outputs.tolist(), windows.actions[i].tolist(), strict=True):
            start, loss, correct = 0, 0.0, True
            for size in inverse.layout.sizes:
                group, truth = out[start : start + size], action[start : start + size]
                start += size
                if inverse.layout.kind == "categorical":
                    loss += math.log(sum(math.exp(x) for x in group)) - group[truth.index(1.0)]
                    correct &= group[truth.index(1.0)] == max(group)
                elif inverse.layout.kind == "binary":
                    loss += sum(math.log1p(math.exp(x if bit == 0 else -x)) for x, bit in zip(group, truth, strict=True))
                    correct &= all((x > 0) == (bit == 1) for x, bit in zip(group, truth, strict=True))
                else:
                    loss += sum((x - a) ** 2 for x, a in zip(group, truth, strict=True)) / size
            losses.append(loss)
            right.append(correct)
        pairs.append((outputs.numpy(), windows.actions[i].numpy()))
    if inverse.layout.kind == "continuous":
        outputs, actions = (np.stack(column) for column in zip(*pairs, strict=True))
        return float(np.mean(losses)), 1 - ((outputs - actions) ** 2).sum() / (len(actions) * actions.var(axis=0)).sum()
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("horizon", [1, 3])
def test_loss_and_metrics_equal_a_literal_loop(kind, horizon):
    encoder = make_encoder(16)
    inverse = Inverse.build(encoder, SPACES[kind], horizon=horizon, hidden_dim=12)
    assert isinstance(inverse, Inverse) and inverse.layout.kind == kind
    windows = brightness(SPACES[kind], 9, horizon + 1, 5)
    windows.mask[1, 1:] = False
    windows.mask[3, -1] = False
    with torch.no_grad():
        loss, metrics = inverse(encoder, windows)
        expected_loss, expected_share = loop_inverse(inverse, encoder, windows)
    assert float(loss) == float(metrics["loss"]) == pytest.approx(expected_loss, rel=1e-4)
    assert float(metrics["r2" if kind == "continuous" else "accuracy"]) == pytest.approx(expected_share, rel=1e-4)


def test_gradients_round_trip_and_what_is_beyond_the_end():
    encoder = make_encoder(16)
    check_gradients(Inverse(encoder, ACTIONS, horizon=2), encoder)
    for kind in ("categorical", "binary", "continuous"):
        layout = ActionLayout(kind, (ACTIONS,))
        check_beyond_the_end(Inverse(encoder, ACTIONS, horizon=2, layout=layout), encoder)
    check_round_trip(lambda e: Inverse(e, ACTIONS, horizon=2), encoder)


def test_inverse_learns_what_was_done_and_shuffled_actions_or_independent_frames_stay_at_chance():
    encoder = make_encoder()
    inverse = Inverse(encoder, ACTIONS)
    train(inverse, encoder, 250)
    assert held_out(inverse, encoder)["accuracy"] > 0.6  # chance is 1/4
    assert held_out(inverse, encoder, structure=False, batch_size=256)["accuracy"] < 0.4
    for keywords, structure in [({"shuffled": True}, True), ({}, False)]:
        encoder = make_encoder()
        inverse = Inverse(encoder, ACTIONS, **keywords)
        train(inverse, encoder, 100, structure)
        result = held_out(inverse, encoder, structure, batch_size=256)
        assert result["accuracy"] < 0.4 and result["loss"] > math.log(4) - 0.05


@pytest.mark.parametrize(("kind", "chance"), [("categorical", 1 / 6), ("binary", 1 / 4), ("continuous", 0.0)])
def test_every_kind_of_action_is_learnt(kind, chance):
    encoder, space = make_encoder(), SPACES[kind]
    inverse = Inverse.build(encoder, space)
    fit(inverse, encoder, space, 60)
    name = "r2" if kind == "continuous" else "accuracy"
    with torch.no_grad():
        assert inverse(encoder, brightness(space, 256, 2, 7))[1][name] > chance + 0.4
        assert inverse(encoder, brightness(space, 256, 2, 7, structure=False))[1][name] < chance + 0.15


def test_actions_that_do_not_vary_have_no_variance_to_explain():
    encoder = make_encoder(16)
    inverse = Inverse(encoder, 2, layout=ActionLayout("continuous", (2,)))
    windows = ragged(inverse, 6)
    assert float(inverse(encoder, windows._replace(actions=torch.ones(6, 1, 2)))[1]["r2"]) == 0


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="horizon"):
        Inverse(make_encoder(), ACTIONS, horizon=0)
    with pytest.raises(ValueError, match="actions"):
        Inverse.build(make_encoder(), None)
    with pytest.raises(ValueError, match="sum"):
        Inverse(make_encoder(), ACTIONS, layout=ActionLayout("categorical", (2, 3)))
    assert Inverse.build(make_encoder(), spaces.Discrete(3)).layout == ActionLayout(
        "categorical", (action_dim(spaces.Discrete(3)),)
    )
