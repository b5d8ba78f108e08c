"""The vision transformer: its parts against independent ones, as an extractor, in the algorithms and under the objectives."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from cpc_rl import ContrastiveCallback, load_encoder, save_encoder
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.extractors import ViTExtractor, pinned_policy_kwargs
from cpc_rl.feature_map import map_module
from cpc_rl.objectives import OBJECTIVES
from cpc_rl.objectives.masking import Masking
from cpc_rl.vit_parts import Block, ClassAttention, PatchProjection, sincos_positions
from tests.algorithms import ALGORITHMS, hooks_left, make_model
from tests.synthetic import held_out, rolling_patterns, train

SMALL = {"features_dim": 32, "width": 32, "depth": 2, "heads": 2}


def space(height=36, width=36, channels=3):
    return spaces.Box(0, 255, (channels, height, width), np.uint8)


def images(height=36, width=36, channels=3, count=2):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def make(seed=0, shape=(36, 36, 3), **keywords):
    torch.manual_seed(seed)
    return ViTExtractor(space(*shape), **{**SMALL, **keywords})


def test_a_block_is_pytorchs_pre_norm_layer():
    torch.manual_seed(0)
    block = Block(12, 3, 20)
    reference = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    names = {
        "self_attn.in_proj": "qkv",
        "self_attn.out_proj": "projection",
        "linear1": "mlp.0",
        "linear2": "mlp.2",
        "norm1": "attention_norm",
        "norm2": "mlp_norm",
    }
    for p in block.parameters():  # biases and scales too
        nn.init.normal_(p, std=0.3)
    own = block.state_dict()
    state = {}
    for name in reference.state_dict():
        module, kind = next((m, name.removeprefix(m)[1:]) for m in names if name.startswith(m))
        state[name] = own[f"{names[module]}.{kind}"]
    reference.load_state_dict(state)
    tokens = torch.randn(4, 7, 12)
    torch.testing.assert_close(block(tokens), reference(tokens))


def test_the_class_token_attends_to_itself_and_the_map():
    torch.manual_seed(0)
    pool = ClassAttention(8, 2)
    for p in pool.parameters():
        nn.init.normal_(p, std=0.5)
    feature_map = torch.randn(3, 8, 2, 3)
    for image, found in zip(feature_map, pool(feature_map), strict=True):
        read = torch.stack([pool.token_norm(pool.token[0, 0])] + [image[:, y, x] for y in range(2) for x in range(3)])
        kv, query, parts = pool.key_value(read), pool.query(read[0]), []
        for head in (slice(0, 4), slice(4, 8)):
            weights = torch.softmax(torch.stack([query[head] @ kv[t, :8][head] / 2 for t in range(7)]), dim=0)
            parts.append(sum(weights[t] * kv[t, 8:][head] for t in range(7)))
        torch.testing.assert_close(found, pool.norm(pool.token[0, 0] + pool.projection(torch.cat(parts))))


def test_patches_begin_at_the_corner_and_are_padded_right_and_below():
    torch.manual_seed(0)
    projection = PatchProjection(3, 5, 8, frozen=False)
    batch = images(20, 13)
    padded = torch.zeros(2, 3, 24, 16)
    padded[:, :, :20, :13] = batch
    found = projection(batch)
    assert found.shape == (2, 5, 3, 2)
    for y, x in np.ndindex(3, 2):
        patch = padded[:, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
        torch.testing.assert_close(found[:, :, y, x], patch.flatten(1) @ projection.weight.flatten(1).T)
    assert projection.weight.abs().max() < math.sqrt(6 / (3 * 64 + 5))


def test_sine_cosine_positions():
    found = sincos_positions(2, 3, 8)
    assert found.shape == (1, 6, 8)
    for y, x in np.ndindex(2, 3):
        wanted = [f(place * w) for place in (x, y) for f in (math.sin, math.cos) for w in (1.0, 0.01)]
        torch.testing.assert_close(found[0, 3 * y + x], torch.tensor(wanted))


@pytest.mark.parametrize("pool", ["mean", "class"])
@pytest.mark.parametrize("positions", ["sincos", "learnt", "none"])
@pytest.mark.parametrize(
    ("shape", "patch_size", "grid"),
    [((64, 64, 4), 8, (8, 8)), ((84, 84, 3), 8, (11, 11)), ((44, 39, 1), 12, (4, 4)), ((5, 30, 1), 7, (1, 5))],
)
def test_sizes_and_gradients(pool, positions, shape, patch_size, grid):
    extractor = make(shape=shape, pool=pool, positions=positions, patch_size=patch_size)
    batch = images(*shape)
    feature_map = extractor.feature_map(batch)
    features = extractor(batch)
    assert feature_map.shape == (2, 32, *grid) and features.shape == (2, 32)
    assert torch.equal(features, extractor.linear(extractor.pool(feature_map)))
    features.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in extractor.parameters())


def test_the_default_is_for_atari_sized_images():
    extractor = ViTExtractor(space(84, 84, 4))
    assert extractor.feature_map(images(84, 84, 4)).shape == (2, 96, 11, 11) and extractor(images(84, 84, 4)).shape == (2, 256)
    assert sum(p.numel() for p in extractor.parameters()) < 500_000
    assert map_module(extractor) is extractor.cnn


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_without_positions_the_order_of_patches_is_nothing_to_it(pool):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    batch = images(32, 32)
    patches = F.unfold(batch, 8, stride=8)  # (N, 3 * 64, 16)
    permuted = F.fold(patches[:, :, order], (32, 32), 8, stride=8)
    for positions in ("none", None, "sincos", "learnt"):  # None: what a command line makes of the word
        extractor = make(shape=(32, 32, 3), pool=pool, positions=positions)
        maps = [extractor.feature_map(x).flatten(2) for x in (batch, permuted)]
        same_map = torch.allclose(maps[0][:, :, order], maps[1], atol=1e-5)
        same_features = torch.allclose(extractor(batch), extractor(permuted), atol=1e-5)
        assert (same_map, same_features) == ((True, True) if positions in ("none", None) else (False, False))


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_features_are_computed_from_the_map_alone(pool):
    encoder = Encoder({IMAGE: make(pool=pool)}, space())
    with encoder.recording() as recording:
        features, maps = encoder.with_maps(torch.randint(0, 256, (2, 3, 36, 36), dtype=torch.uint8))
    assert encoder.map_shapes() == {IMAGE: (32, 5, 5)} and maps[IMAGE].shape == (2, 32, 5, 5)
    (at_map,) = torch.autograd.grad(features.sum(), recording.maps)
    assert (at_map.abs().sum(dim=1) > 0).all(), "every token of the map is read"
    assert hooks_left_in(encoder) == 0


def hooks_left_in(module):
    return sum(len(m._forward_hooks) for m in module.modules())


@pytest.mark.parametrize(
    ("name", "freeze_patches", "total"),
    [("PPO", False, 200), ("PPO", True, 64), ("DQN", True, 200), ("SAC", False, 200), ("TRPO", False, 32), ("TRPO", True, 32)],
)
def test_it_trains_in_the_algorithms(name, freeze_patches, total):
    keywords = {"features_dim": 16, "width": 16, "depth": 1, "heads": 2, "patch_size": 12}
    keywords |= {"pool": "class" if name == "SAC" else "mean", "positions": "learnt", "freeze_patches": freeze_patches}
    settings = {"train_freq": 4} if name == "SAC" else {}
    model = make_model(name, policy_kwargs=pinned_policy_kwargs(ALGORITHMS[name], ViTExtractor, **keywords), **settings)
    before = {path: p.detach().clone() for path, p in model.policy.named_parameters() if "_target" not in path}
    model.learn(total)
    still = {path for path, p in model.policy.named_parameters() if path in before and torch.equal(p, before[path])}
    patches = {path for path in before if "cnn.patches" in path}
    assert {path for path in still if "features_extractor" in path} == (patches if freeze_patches else set())
    assert all(p.isfinite().all() for p in model.policy.parameters())


def test_frozen_patches_are_not_the_first_parameter_and_go_through_a_file(tmp_path):
    frozen, free = (
        make_model(
            "PPO",
            policy_kwargs={
                "features_extractor_class": ViTExtractor,
                "features_extractor_kwargs": {**SMALL, "freeze_patches": flag},
            },
            seed=seed,
        )
        for flag, seed in ((True, 0), (False, 1))
    )
    first = next(frozen.policy.features_extractor.parameters())
    assert first is not frozen.policy.features_extractor.cnn.patches.weight  # a head looks there for a gradient
    load_encoder(free, save_encoder(frozen, tmp_path / "encoder.safetensors"))
    x = images()
    assert torch.equal(frozen.policy.features_extractor(x), free.policy.features_extractor(x))


def test_what_the_policies_of_ppo_initialise_anew():
    extractors = []
    for ortho_init in (True, False):
        kwargs = {
            "features_extractor_class": ViTExtractor,
            "features_extractor_kwargs": {**SMALL, "pool": "class", "positions": "learnt"},
        }
        extractors.append(make_model("PPO", policy_kwargs={**kwargs, "ortho_init": ortho_init}).policy.features_extractor)
    linear = {name for name, m in extractors[0].named_modules() if isinstance(m, nn.Linear)}
    for (name, anew), kept in zip(extractors[0].named_parameters(), extractors[1].parameters(), strict=True):
        is_weight = name.removesuffix(".weight") in linear
        assert torch.equal(anew, kept) == (not is_weight), name
        if is_weight:
            small = min(anew.shape)
            gram = anew @ anew.T if anew.shape[0] == small else anew.T @ anew
            torch.testing.assert_close(gram, 2 * torch.eye(small), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", ["simclr", "moco", "stdim", "masked"])
@pytest.mark.parametrize("pool", ["mean", "class"])
def test_the_objectives_train_it_beside_the_agent(objective, pool):
    kwargs = {"features_extractor_class": ViTExtractor, "features_extractor_kwargs": {**SMALL, "pool": pool}}
    model = make_model("DQN", policy_kwargs=kwargs)
    callback = ContrastiveCallback(objective, batch_size=8)
    model.learn(64, callback=callback)
    (head,) = callback.heads.values()
    balance = head.terms[objective].balance
    assert head.steps >= 4 and hooks_left(model) == 0
    assert balance.rl_norm > 0 and balance.auxiliary_norm > 0


def test_simclr_learns_on_it_and_not_what_is_shuffled():
    accuracy = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        encoder = Encoder({IMAGE: ViTExtractor(space(channels=1), patch_size=9, **SMALL)}, space(channels=1))
        objective = OBJECTIVES["simclr"].build(encoder, spaces.Discrete(4), shuffled=shuffled)
        train(objective, encoder, 40, batch_size=32)
        accuracy[shuffled] = held_out(objective, encoder, batch_size=32)["accuracy"]
    assert accuracy[False] > 0.3 and accuracy[True] < 0.1  # chance: 0.016


def test_masked_hides_whole_patches_of_it():
    """Of the same size, and without an augmentation, which would shift the black squares off the patches."""
    encoder = Encoder({IMAGE: make(patch_size=8)}, space())
    keywords = {"patch_size": 8, "patch_share": 0.5, "zeroed": 0.0, "exchanged": 0.0, "augment": None}
    objective = OBJECTIVES["masked"].build(encoder, spaces.Discrete(4), **keywords)
    windows = rolling_patterns(4, objective.horizon + 1, 0)
    windows = windows._replace(observations=windows.observations.expand(-1, -1, 3, -1, -1).clamp(min=1))
    seen = []
    encoder.extractors[IMAGE].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    objective.generator = torch.Generator().manual_seed(0)
    objective(encoder, windows)
    padded = F.pad(seen[0].float(), (0, 4, 0, 4), value=-1)  # padding is neither black nor seen
    patches = padded.unfold(2, 8, 8).unfold(3, 8, 8)  # (N, C, h, w, 8, 8)
    hidden, whole = (((patches == 0) == black) | (patches < 0) for black in (True, False))
    hidden, whole = hidden.all(dim=(1, 4, 5)), whole.all(dim=(1, 4, 5))
    assert hidden.shape[1:] == encoder.map_shapes()[IMAGE][1:] and (hidden ^ whole).all()
    assert 0.4 < hidden.float().mean() < 0.6
    other = Masking(1.0, 0.0, 0.0, 0.5, 6).hide(windows.observations, windows.mask, torch.Generator().manual_seed(0))[0]
    patches = other.flatten(0, 1)[:, :, :32, :32].unfold(2, 8, 8).unfold(3, 8, 8)
    assert not ((patches == 0).all(dim=(1, 4, 5)) ^ (patches > 0).all(dim=(1, 4, 5))).all()


def test_the_agents_batch_is_augmented_before_the_patches():
    extractor = make(augment="random_shift")
    plain = make()
    batch = images()
    extractor.augment_mode = "always"
    assert not torch.equal(extractor(batch), plain(batch))
    extractor.augment_mode = "off"
    assert torch.equal(extractor(batch), plain(batch))


def test_copies_and_pickles_give_the_same_features():
    extractor = make(pool="class")
    for other in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):
        assert torch.equal(other(images()), extractor(images()))
    assert not [name for name in extractor.state_dict() if "positions" in name]  # the fixed ones are computed
    assert "cnn.positions" in make(positions="learnt").state_dict()


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"pool": "max"}, "pool is 'max'"),
        ({"positions": "rotary"}, "positions is 'rotary'"),
        ({"width": 30, "heads": 4}, "the heads must share the width out evenly"),
        ({"width": 30, "heads": 3}, "sine-cosine positions need a multiple of 4"),
        ({"depth": 0}, "must each be at least 1"),
        ({"mlp_ratio": 0.001}, "leave a hidden unit"),
    ],
)
def test_settings_that_make_no_sense(keywords, said):
    with pytest.raises(ValueError, match=said):
        make(**keywords)
