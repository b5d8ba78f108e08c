"""Against info-nce-pytorch: InfoNCE of cosines, with the batch's, explicit, or paired negatives."""

import math

import pytest
import torch
from info_nce import InfoNCE
from torch.nn import functional as F

from cpc_rl.estimators import infonce
from cpc_rl.losses import info_nce
from cpc_rl.objectives.curl import CURL
from cpc_rl.objectives.moco import MoCo
from cpc_rl.objectives.multiview import Multiview
from tests.peers.plain import assert_same, differ, make_encoder, noise


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_loss_and_the_estimator(temperature):
    generator = torch.Generator().manual_seed(0)
    anchors, keys = torch.randn(2, 9, 6, generator=generator)
    scores = F.normalize(anchors, dim=1) @ F.normalize(keys, dim=1).T / temperature
    each = InfoNCE(temperature, reduction="none")(anchors, keys)
    torch.testing.assert_close(info_nce(scores, torch.arange(9)).loss, each)
    torch.testing.assert_close(infonce(scores), math.log(9) - each.mean())
    # Positives apart from the negatives: keys 0 .. 3 are positives of anchors 0 .. 3, the others negatives of all of them
    theirs = InfoNCE(temperature, reduction="none")(anchors[:4], keys[:4], keys[4:])
    positives = torch.eye(4, 9, dtype=torch.bool)
    negatives = (torch.arange(9) >= 4).expand(4, 9)
    torch.testing.assert_close(info_nce(scores[:4], torch.arange(4), positives | negatives).loss, theirs)
    torch.testing.assert_close(infonce(scores[:4], positives, negatives), math.log(6) - theirs.mean())


@pytest.mark.parametrize("ended", [0, 3])
def test_moco_with_its_queue(ended):
    """The queue is kept here as a plain list. A frame beyond an episode's end takes a place in it, but is no negative."""
    encoder = make_encoder()
    moco = MoCo(encoder, horizon=1, temperature=0.2, tau=0.3, negatives={"source": "queue", "queue_size": 10}, augment=None)
    differ(moco)
    places: list[torch.Tensor | None] = []  # of the queue, the newest last
    for step in range(5):
        windows = noise(7, 2, seed=step)
        windows.episode.add_(7 * step)
        windows.mask[:ended, 1] = False
        queries = moco.projection(encoder(windows.observations[ended:, 0]))
        keys = moco.key_projection(moco.key_encoder(windows.observations[ended:, 1])).detach()
        loss, _ = moco(encoder, windows)
        if step > 0:
            negatives = torch.stack([key for key in places if key is not None])
            assert_same(moco, encoder, loss, InfoNCE(0.2)(queries, keys, negatives))
        with torch.no_grad():
            for p in [*encoder.parameters(), *moco.projection.parameters()]:
                p *= 1.1  # moves the momentum copies
        moco.after_step(encoder)
        places = [*places, *[None] * ended, *keys][-10:]


def test_moco_with_negatives_of_its_own_trajectory():
    encoder = make_encoder()
    moco = MoCo(encoder, horizon=1, negatives="same_trajectory", augment=None)
    differ(moco)
    windows = noise(12, 2)._replace(episode=torch.arange(12) // 4, step=torch.arange(12) % 4 * 2)
    queries = moco.projection(encoder(windows.observations[:, 0]))
    keys = moco.key_projection(moco.key_encoder(windows.observations[:, 1])).detach()
    own = torch.stack([keys[[j for j in range(12) if j // 4 == i // 4 and j != i]] for i in range(12)])  # (12, 3, D)
    assert_same(moco, encoder, moco(encoder, windows)[0], InfoNCE(0.1, negative_mode="paired")(queries, keys, own))


def test_curl_where_its_scores_are_cosines():
    """Theirs are always cosines. Features of length one, and a rotation as W, make CURL's inner products cosines too."""
    encoder = make_encoder()
    curl = CURL(encoder, horizon=1, temperature=0.3, feature_length=1.0, augment=None)
    differ(curl)
    curl.W.data = torch.linalg.qr(torch.randn(curl.W.shape, generator=torch.Generator().manual_seed(1)))[0]
    windows = noise(8, 2)
    anchors, keys = curl.read(encoder(windows.observations[:, 0])), curl.read(curl.key_encoder(windows.observations[:, 1]))
    ours, theirs = curl(encoder, windows)[0], InfoNCE(0.3)(anchors @ curl.W, keys)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss, list(encoder.parameters()), retain_graph=True) for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)  # not at W, which a step takes off the rotations


def test_multiview_in_both_directions_of_every_pair():
    keys = ("front", "side", "depth")
    encoder = make_encoder(keys)
    multiview = Multiview(encoder, temperature=0.2, augment=None)
    windows = noise(6, 1, keys)
    features = encoder.views({key: value[:, 0] for key, value in windows.observations.items()})
    z = {key: multiview.projections[key](features[key]) for key in keys}
    each = [InfoNCE(0.2)(z[one], z[other]) for one in keys for other in keys if one != other]
    assert_same(multiview, encoder, multiview(encoder, windows)[0], torch.stack(each).mean())
