"""Against pytorch-metric-learning: NT-Xent of cosines and of inner products, VICReg, and the pull of BYOL."""

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from pytorch_metric_learning.losses import ContrastiveLoss, NTXentLoss, SelfSupervisedLoss, VICRegLoss
from pytorch_metric_learning.reducers import MeanReducer

from cpc_rl.objectives.atc import ATC
from cpc_rl.objectives.byol import BYOL
from cpc_rl.objectives.cpc import CPC
from cpc_rl.objectives.curl import CURL
from cpc_rl.objectives.simclr import SimCLR
from cpc_rl.objectives.taco import TACO
from cpc_rl.objectives.vicreg import VICReg
from tests.peers.plain import ACTIONS, assert_same, differ, make_encoder, noise


def inner_products(temperature=1.0):
    return NTXentLoss(temperature, distance=DotProductSimilarity(normalize_embeddings=False))


def test_simclr():
    encoder = make_encoder()
    simclr = SimCLR(encoder, horizon=1, temperature=0.3, augment=None)
    windows = noise(9, 2)
    one, other = (simclr.projection(encoder(windows.observations[:, i])) for i in (0, 1))
    theirs = SelfSupervisedLoss(NTXentLoss(0.3))(one, other)
    assert_same(simclr, encoder, simclr(encoder, windows)[0], theirs)


def test_vicreg():
    encoder = make_encoder()
    keywords = {"invariance_weight": 20.0, "variance_weight": 10.0, "covariance_weight": 2.0}
    vicreg = VICReg(encoder, horizon=1, latent_dim=16, augment=None, **keywords)
    windows = noise(9, 2)
    one, other = (vicreg.expander(encoder(windows.observations[:, i])) for i in (0, 1))
    theirs = VICRegLoss(invariance_lambda=20, variance_mu=10, covariance_v=2)(one, ref_emb=other)
    assert_same(vicreg, encoder, vicreg(encoder, windows)[0], theirs)


def test_byol():
    """Their contrastive loss with margins of 1 is 1 - cos of the positives alone; BYOL's distance is twice that."""
    encoder = make_encoder()
    byol = BYOL(encoder, horizon=1, augment=None)
    differ(byol)
    windows = noise(9, 2)
    views = [windows.observations[:, i] for i in (0, 1)]
    pull = ContrastiveLoss(pos_margin=1, neg_margin=1, distance=CosineSimilarity(), reducer=MeanReducer())
    rows = torch.arange(9)
    theirs = torch.zeros(())
    for view, other in (views, views[::-1]):
        predictions = byol.predictor(byol.projection(encoder(view)))
        targets = byol.target_projection(byol.target_encoder(other)).detach()
        theirs = theirs + 2 * pull(predictions, rows, ref_emb=targets, ref_labels=rows.clone())
    assert_same(byol, encoder, byol(encoder, windows)[0], theirs)


@pytest.mark.parametrize("ended", [0, 4])
@pytest.mark.parametrize("name", ["curl", "atc", "taco"])
def test_contrasts_of_a_frame_with_a_later_one(name, ended):
    """Frames beyond an episode's end are neither positives nor negatives: theirs gets the other windows alone."""
    encoder = make_encoder()
    make = {"curl": CURL, "atc": ATC, "taco": TACO}[name]
    objective = make(encoder, ACTIONS, horizon=2, temperature=1.5, augment=None, **({"curl": False} if name == "taco" else {}))
    differ(objective)
    windows = noise(10, 3)
    windows.mask[:ended, 2] = False
    now, later = windows.observations[ended:, 0], windows.observations[ended:, 2]
    if name == "curl":
        anchors, keys = objective.read(encoder(now)) @ objective.W, objective.read(objective.key_encoder(later))
    elif name == "atc":
        c = objective.compressor(objective.read(encoder(now)))
        anchors, keys = (
            objective.W(c + objective.predictor(c)),
            objective.key_compressor(objective.read(objective.key_encoder(later))),
        )
    else:
        z, keys = objective.projection(encoder(now)), objective.projection(encoder(later))
        actions = objective.sequence_embedding(objective.action_embedding(windows.actions[ended:]).flatten(1))
        anchors = objective.predictor(torch.cat([z, actions], dim=1)) @ objective.W
    rows = torch.arange(10 - ended)
    theirs = inner_products(1.5)(anchors, rows, ref_emb=keys.detach(), ref_labels=rows.clone())
    assert_same(objective, encoder, objective(encoder, windows)[0], theirs)


@pytest.mark.parametrize("length", (None, 7.0))
def test_cpc_over_all_frames_of_the_batch(length):
    """Labels tell theirs which of the 15 frames is the positive of a context, k steps on."""
    encoder = make_encoder()
    cpc = CPC(encoder, horizon=2, context=1, feature_length=length, augment=None)
    windows = noise(5, 3)
    features = cpc.read(encoder(windows.observations.flatten(0, 1))).unflatten(0, (5, 3))
    contexts = cpc.context(features, windows.actions)
    place = torch.arange(15).view(5, 3)
    parts = []
    for k in (1, 2):
        predictions = cpc.W[k - 1](contexts[:, : 3 - k]).flatten(0, 1)
        labels = place[:, k:].flatten()
        parts.append(inner_products()(predictions, labels, ref_emb=features.flatten(0, 1), ref_labels=place.flatten()))
    assert_same(cpc, encoder, cpc(encoder, windows)[0], torch.stack(parts).mean())
