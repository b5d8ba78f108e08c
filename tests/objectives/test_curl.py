import math

import pytest
import torch

from cpc_rl.objectives import CURL
from tests.objectives.head_checks import as_read
from tests.synthetic import held_out, make_encoder, rolling_patterns, train


@pytest.mark.parametrize("length", [None, 7.0])
def test_loss_equals_the_papers_pseudocode(length):
    encoder = make_encoder()
    curl = CURL(encoder, feature_length=length, augment=None)
    curl.W.data.normal_(generator=torch.Generator().manual_seed(1))
    for p in curl.key_encoder.parameters():
        p.data.mul_(1.1)  # the key encoder must be the one that makes the keys
    windows = rolling_patterns(8, 1, 0)
    loss, metrics = curl(encoder, windows)
    images = windows.observations[:, 0]
    queries, keys = ([as_read(z, length) for z in each(images)] for each in (encoder, curl.key_encoder))
    expected = 0.0
    for i in range(8):
        scores = [float(queries[i] @ curl.W @ keys[j]) for j in range(8)]
        scores = [s - max(scores) for s in scores]
        expected -= (scores[i] - math.log(sum(math.exp(s) for s in scores))) / 8
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-4)


def test_every_parameter_of_head_and_encoder_gets_a_gradient_and_the_key_encoder_none():
    encoder = make_encoder()
    curl = CURL(encoder)
    curl(encoder, rolling_patterns(16, 1, 0))[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in [curl.W, *encoder.parameters()])
    assert all(p.grad is None for p in curl.key_encoder.parameters())


def test_parameters_are_disjoint_from_the_encoders_and_the_key_encoder_follows_it():
    encoder = make_encoder()
    curl = CURL(encoder, tau=0.1)
    assert not {id(p) for p in encoder.parameters()} & {id(p) for p in curl.parameters()}
    before = [p.clone() for p in curl.key_encoder.parameters()]
    for p in encoder.parameters():
        p.data += 1
    curl.after_step(encoder)
    expected = [0.9 * old + 0.1 * p for old, p in zip(before, encoder.parameters(), strict=True)]
    torch.testing.assert_close(list(curl.key_encoder.parameters()), [e.detach() for e in expected])


def test_the_two_views_are_drawn_independently():
    seen = []
    encoder = make_encoder()
    curl = CURL(encoder, augment=lambda images, generator=None: (seen.append(images), images)[1])
    curl(encoder, rolling_patterns(4, 1, 0))
    assert len(seen) == 2 and torch.equal(*seen)


def test_curl_learns_to_tell_frames_apart_and_shuffled_pairs_do_not():
    encoder = make_encoder()
    curl = CURL(encoder)
    train(curl, encoder, 160)
    assert held_out(curl, encoder)["accuracy"] > 0.5  # chance is 1/64
    encoder = make_encoder()
    shuffled = CURL(encoder, shuffled=True)
    train(shuffled, encoder, 150)
    result = held_out(shuffled, encoder)
    assert result["accuracy"] < 0.1 and result["mi_lower_bound"] < 0.05


def test_a_step_of_zero_is_refused():
    with pytest.raises(ValueError, match="tau"):
        CURL(make_encoder(), tau=0.0)
