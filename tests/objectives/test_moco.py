import math

import pytest
import torch

from cpc_rl.encoder import IMAGE
from cpc_rl.objectives.moco import MoCo
from tests.objectives.views import (
    check_goes_on_after_loading,
    check_gradients,
    check_momentum,
    check_nothing_comes_from_beyond_the_end,
    ragged,
)
from tests.synthetic import held_out, make_encoder, rolling_patterns, train

SMALL = {"source": "queue", "queue_size": 10}


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.square().sum().sqrt()


@pytest.mark.parametrize("horizon", [0, 1])
def test_loss_equals_a_literal_loop_over_a_list_of_keys(horizon):
    encoder = make_encoder(16)
    moco = MoCo(encoder, horizon=horizon, latent_dim=8, hidden_dim=12, temperature=0.3, tau=0.2, negatives=SMALL, augment=None)
    keys_so_far: list[torch.Tensor | None] = []  # None: beyond an episode's end
    for step in range(5):  # 4 keys a step: the queue is full from the third on
        windows = ragged(4, horizon, step)
        valid = windows.mask[:, horizon].tolist()
        with torch.no_grad():
            queries = [unit(moco.projection(encoder(image[None]))[0]) for image in windows.observations[:, 0]]
            keys = [unit(moco.key_projection(moco.key_encoder(i[None]))[0]) for i in windows.observations[:, horizon]]
        losses, batch_losses = [], []
        for b in range(4):
            if not valid[b]:
                continue
            scores = [float(queries[b] @ k) / 0.3 for k in [keys[b], *(k for k in keys_so_far[-10:] if k is not None)]]
            losses.append(math.log(sum(map(math.exp, scores))) - scores[0])
            scores = [float(queries[b] @ k) / 0.3 for k, v in zip(keys, valid, strict=True) if v]
            batch_losses.append(math.log(sum(map(math.exp, scores))) - float(queries[b] @ keys[b]) / 0.3)
        loss, metrics = moco(encoder, windows)
        assert float(loss.detach()) == pytest.approx(sum(losses) / len(losses) if step else 0.0, rel=1e-4)
        assert float(metrics["mi_ceiling"]) == pytest.approx(math.log(len(batch_losses)))
        assert float(metrics["mi_lower_bound"]) == pytest.approx(
            math.log(len(batch_losses)) - sum(batch_losses) / len(batch_losses), abs=1e-4
        )
        for p in [*encoder.parameters(), *moco.projection.parameters()]:
            p.data.mul_(1.1)
        moco.after_step(encoder)
        keys_so_far += [k if v else None for k, v in zip(keys, valid, strict=True)]


def test_gradients_momentum_state_and_ends_of_episodes():
    encoder = make_encoder(16)
    moco = MoCo(encoder)
    check_gradients(moco, encoder, frozen=[moco.key_encoder, moco.key_projection])
    moco = MoCo(encoder, tau=0.3)
    check_momentum(moco, encoder, [(moco.key_encoder, encoder), (moco.key_projection, moco.projection)], 0.3)
    check_goes_on_after_loading(lambda e: MoCo(e, horizon=1, negatives={"source": "queue", "queue_size": 50}))
    moco = MoCo(encoder, horizon=1)
    moco(encoder, ragged(8, 1, 0))
    moco.after_step(encoder)
    check_nothing_comes_from_beyond_the_end(moco, encoder)


def test_an_evaluation_puts_nothing_into_the_queue():
    encoder = make_encoder(16)
    moco = MoCo(encoder, negatives=SMALL)
    held_out(moco, encoder)
    moco.after_step(encoder)
    assert moco.queue is not None and not bool(moco.queue.valid.any())
    train(moco, encoder, 1, batch_size=4)
    assert int(moco.queue.valid.sum()) == 4


def test_it_learns_views_and_futures_and_nothing_where_there_is_nothing():
    encoder = make_encoder()
    moco = MoCo(encoder)
    untrained = held_out(moco, encoder)["accuracy"]
    train(moco, encoder, 140)
    assert held_out(moco, encoder)["accuracy"] > max(0.65, untrained + 0.2)  # chance is 1/64
    encoder = make_encoder()
    moco = MoCo(encoder, horizon=1, augment=None)
    train(moco, encoder, 200)
    assert held_out(moco, encoder)["accuracy"] > 0.08
    assert held_out(moco, encoder, structure=False)["accuracy"] < 0.06
    for keywords, structure in [({"shuffled": True}, True), ({"horizon": 1}, False)]:
        encoder = make_encoder()
        moco = MoCo(encoder, **keywords)
        train(moco, encoder, 60, structure)
        result = held_out(moco, encoder, structure)
        assert result["accuracy"] < 0.08 and result["mi_lower_bound"] < 0.05


def test_other_negatives_and_settings_that_make_no_sense():
    encoder = make_encoder()
    moco = MoCo(encoder, negatives="batch")
    assert moco.queue is None and float(moco(encoder, rolling_patterns(8, 1, 0))[0].detach()) > 0
    with pytest.raises(ValueError, match="tau"):
        MoCo(encoder, tau=1.5)


def test_batch_normalisation_takes_off_what_all_features_have_in_common():
    encoder = make_encoder(16)
    moco = MoCo(encoder, horizon=1, norm="batch", negatives=SMALL, augment=None)
    check_gradients(moco, encoder, frozen=[moco.key_encoder, moco.key_projection])
    check_goes_on_after_loading(lambda e: MoCo(e, horizon=1, norm="batch", negatives=SMALL))
    check_nothing_comes_from_beyond_the_end(moco, encoder)
    windows, losses = ragged(8, 1, 3), []
    for _ in range(2):
        for p, q in zip(encoder.parameters(), moco.key_encoder.parameters(), strict=True):
            q.data.copy_(p)
        losses.append(moco(encoder, windows)[1]["mi_lower_bound"])
        encoder.extractors[IMAGE].register_forward_hook(lambda module, inputs, output: output + 5)
        moco.key_encoder.extractors[IMAGE].register_forward_hook(lambda module, inputs, output: output + 5)
    assert torch.allclose(losses[0], losses[1], atol=1e-4)
    with pytest.raises(ValueError, match="norm is 'group', but it is 'batch', 'layer' or None"):
        MoCo(encoder, norm="group")
