"""Extractors that compute in bfloat16: what is of which precision, and that agents and heads learn with them."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from cpc_rl import ContrastiveCallback, NatureExtractor, pinned_policy_kwargs
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.extractors import DataEfficientExtractor, DrQExtractor, ImpalaExtractor, ViTExtractor
from cpc_rl.objectives import CPC
from tests.algorithms import ALGORITHMS, make_model
from tests.synthetic import ACTIONS, SPACE, held_out, train

EXTRACTORS = [NatureExtractor, DataEfficientExtractor, ImpalaExtractor, DrQExtractor, ViTExtractor]


def both(extractor_class, **keywords):
    """The same weights twice, once for each precision."""
    space = spaces.Box(0, 255, (3, 40, 40), np.uint8)
    plain = extractor_class(space, features_dim=32, **keywords)
    half = extractor_class(space, features_dim=32, precision="bf16", **keywords)
    half.load_state_dict(plain.state_dict())
    return plain, half


def precisions(module):
    """What the convolutions and linear layers compute in, noted at each pass."""
    seen = set()
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    return seen


@pytest.mark.parametrize("extractor_class", EXTRACTORS)
def test_half_within_and_whole_outside(extractor_class):
    plain, half = both(extractor_class)
    seen_plain, seen_half = precisions(plain), precisions(half)
    images = torch.rand(8, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    expected, features = plain(images), half(images)
    assert seen_plain == {torch.float32} and seen_half == {torch.bfloat16}
    assert features.dtype == torch.float32 and not torch.equal(features, expected)
    assert torch.linalg.vector_norm(features - expected) < 0.03 * torch.linalg.vector_norm(expected)
    features.square().sum().backward()
    expected.square().sum().backward()
    for mine, theirs in zip(half.parameters(), plain.parameters(), strict=True):
        assert mine.dtype == mine.grad.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(mine.grad.flatten(), theirs.grad.flatten(), dim=0) > 0.97


def test_an_autocast_of_the_caller_s_keeps_its_say():
    plain, _ = both(NatureExtractor)
    seen = precisions(plain)
    with torch.autocast("cpu", torch.bfloat16):
        plain(torch.rand(2, 3, 40, 40))
    assert seen == {torch.bfloat16}


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of float32, bf16, but it is 'fp16'"):
        NatureExtractor(SPACE, precision="fp16")


@pytest.mark.parametrize("name", ["PPO", "DQN", "SAC"])
def test_a_saved_model_keeps_it(name, tmp_path):
    model = make_model(name, policy_kwargs=pinned_policy_kwargs(ALGORITHMS[name], NatureExtractor, precision="bf16"))
    model.save(tmp_path / "model.zip")
    loaded = ALGORITHMS[name].load(tmp_path / "model.zip")
    images = torch.zeros(2, 3, 36, 36) + 0.3
    mine, theirs = ([m for m in each.policy.modules() if isinstance(m, NatureExtractor)] for each in (model, loaded))
    assert {m.precision for m in theirs} == {"bf16"} and torch.equal(mine[0](images), theirs[0](images))


@pytest.mark.parametrize(
    ("name", "objective", "keywords"),
    [
        ("PPO", "cpc", {}),
        ("PPO", "stdim", {}),
        ("PPO", "curl", {"gradient": "separate"}),
        ("DQN", "spr", {}),
        ("DQN", "driml", {"objective_kwargs": {"horizon": 1}}),
        ("SAC", "curl", {"encoder": "tied"}),
        ("SAC", "taco", {"share_passes": False}),
        ("TQC", "cpc", {"encoder": "both"}),
    ],
)
def test_heads_train_with_it(name, objective, keywords):
    kwargs = pinned_policy_kwargs(ALGORITHMS[name], NatureExtractor, features_dim=32, precision="bf16")
    model = make_model(name, policy_kwargs=kwargs)
    callback = ContrastiveCallback(objective, batch_size=8, **keywords)
    model.learn(96, callback=callback)
    for head in callback.heads.values():
        assert head.steps > 3
        moved = [p for term in head.terms.values() for p in term.objective.parameters() if p.requires_grad]
        assert moved and all(p in head.optimizer.state for p in moved)
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in model.policy.parameters())


def test_a_head_learns_from_structure_and_not_from_noise():
    bound = {}
    for structure in (True, False):
        torch.manual_seed(0)
        encoder = Encoder({IMAGE: NatureExtractor(SPACE, features_dim=64, precision="bf16")}, SPACE)
        cpc = CPC(encoder, ACTIONS, augment=None)
        train(cpc, encoder, 160, structure)
        bound[structure] = held_out(cpc, encoder, structure)["mi_lower_bound"]
    assert bound[True] > 1.5 and bound[False] < 0.05  # nats; float32: 2.6
