import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cpc_rl.encoder import Encoder
from cpc_rl.momentum import momentum_update
from cpc_rl.objectives.masked import Masked
from cpc_rl.objectives.masking import Masking
from tests.objectives.map_encoder import FieldCNN, make_map_encoder
from tests.objectives.smooth_windows import fading_patterns
from tests.objectives.training import assert_gradients, held_out_on, loss_from, scrambled_beyond_the_end, train_on
from tests.synthetic import SPACE, rolling_patterns

COPIES = ("key_encoder", "key_projection")


def ragged(batch_size: int, length: int, seed: int = 0):
    windows = rolling_patterns(batch_size, length, seed)
    windows.mask[1, 2:] = False
    windows.mask[3, 1:] = False
    return windows


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normed(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale + shift


def literal_transformer(weights: dict[str, np.ndarray], tokens: np.ndarray, heads: int) -> np.ndarray:
    """One layer (Vaswani et al. 2017) over one window, token by token: ``(n, D)`` to ``(n, D)``."""
    n, dim = tokens.shape
    size = dim // heads
    qkv = [weights["self_attn.in_proj_weight"] @ x + weights["self_attn.in_proj_bias"] for x in tokens]
    outputs = []
    for i in range(n):
        read = np.zeros(dim)
        for h in range(heads):
            q, k, v = (slice(part * dim + h * size, part * dim + (h + 1) * size) for part in range(3))
            weight = np.array([math.exp(qkv[i][q] @ qkv[j][k] / math.sqrt(size)) for j in range(n)])
            weight /= weight.sum()
            read[h * size : (h + 1) * size] = sum(weight[j] * qkv[j][v] for j in range(n))
        x = tokens[i] + weights["self_attn.out_proj.weight"] @ read + weights["self_attn.out_proj.bias"]
        x = normed(x, weights["norm1.weight"], weights["norm1.bias"])
        hidden = np.maximum(weights["linear1.weight"] @ x + weights["linear1.bias"], 0)
        x = x + weights["linear2.weight"] @ hidden + weights["linear2.bias"]
        outputs.append(normed(x, weights["norm2.weight"], weights["norm2.bias"]))
    return np.array(outputs)


@torch.no_grad()
def loop_masked(masked: Masked, encoder: Encoder, windows, seed: int) -> float:
    """Literal: window by window through the transformer, then one cross-entropy for each chosen frame over all true frames."""
    hidden, chosen = masked.masking.hide(windows.observations, windows.mask, generator(seed))
    weights = {k: p.double().numpy() for k, p in masked.transformer.layers[0].named_parameters()}
    lengths = windows.mask.sum(1).tolist()
    heads = masked.transformer.layers[0].self_attn.num_heads
    rebuilt, keys = {}, {}
    for b, length in enumerate(lengths):  # what is beyond the end is simply not there
        tokens = masked.projection(encoder(hidden[b, :length])) + masked.positions[:length]
        whole = masked.key_projection(masked.key_encoder(windows.observations[b, :length])).double().numpy()
        outputs = literal_transformer(weights, tokens.double().numpy(), heads)
        for i in range(length):
            rebuilt[b, i], keys[b, i] = outputs[i], whole[i]
    if masked.cosine:
        rebuilt, keys = ({at: z / np.sqrt((z**2).sum()) for at, z in vectors.items()} for vectors in (rebuilt, keys))
    losses = []
    for at, anchor in rebuilt.items():
        if chosen[at]:
            scores = {other: anchor @ key / masked.temperature for other, key in keys.items()}
            largest = max(scores.values())
            losses.append(largest + math.log(sum(math.exp(s - largest) for s in scores.values())) - scores[at])
    assert losses
    return float(np.mean(losses))


@pytest.mark.parametrize(("cosine", "temperature", "heads"), [(True, 0.1, 1), (False, 1.0, 2)])
def test_loss_equals_a_literal_loop(cosine, temperature, heads):
    encoder = make_map_encoder(8)
    masked = Masked(
        encoder, horizon=3, share=0.5, heads=heads, latent_dim=6, hidden_dim=10, cosine=cosine, temperature=temperature,
        patch_share=0.2, augment=None,
    )  # fmt: skip
    for p in masked.key_encoder.parameters():
        p.data.mul_(1.1)  # the key encoder must be the one that makes the keys
    windows = ragged(6, 4)
    assert float(loss_from(masked, encoder, windows, seed=5)) == pytest.approx(
        loop_masked(masked, encoder, windows, 5), rel=1e-4
    )


def test_frames_are_chosen_blackened_and_exchanged_in_their_shares():
    windows = rolling_patterns(200, 10, 0)
    images = windows.observations.clamp(min=1)  # no frame is black of itself
    windows.mask[:, 8:] = False
    hidden, chosen = Masking(0.4, 0.7, 0.2, 0.0, 12).hide(images, windows.mask, generator())
    black = (hidden == 0).flatten(2).all(2)
    same = (hidden == images).flatten(2).all(2)
    assert not chosen[:, 8:].any() and same[~chosen].all()
    count = int(chosen.sum())
    assert count / 1600 == pytest.approx(0.4, abs=0.05)
    assert int(black.sum()) / count == pytest.approx(0.7, abs=0.06)
    assert int((chosen & same).sum()) / count == pytest.approx(0.1, abs=0.05)
    exchanged = hidden[chosen & ~black & ~same].flatten(1)
    frames = images[windows.mask].flatten(1)
    assert all((frames == one).all(1).any() for one in exchanged)  # frames of the batch, none from beyond an end
    again, _ = Masking(0.4, 0.7, 0.2, 0.0, 12).hide(images, windows.mask, generator())
    assert torch.equal(hidden, again)


def test_patches_are_black_squares_alike_in_all_channels():
    images = torch.full((30, 4, 2, 36, 40), 9, dtype=torch.uint8)
    hidden, _ = Masking(1.0, 0.0, 0.0, 0.3, 16).hide(images, torch.ones(30, 4, dtype=torch.bool), generator())
    assert torch.equal(hidden[:, :, 0], hidden[:, :, 1])
    patches = []
    for y in range(0, 36, 16):
        for x in range(0, 40, 16):
            patch = hidden[:, :, 0, y : y + 16, x : x + 16].flatten(2)
            assert (patch == patch[:, :, :1]).all()
            patches.append(patch[:, :, 0] == 0)
    assert float(torch.stack(patches).float().mean()) == pytest.approx(0.3, abs=0.05)
    assert (hidden[0] != hidden[1]).any()


def test_all_entries_of_a_dict_observation_lose_the_same_frames():
    one, other = (rolling_patterns(20, 6, seed).observations.clamp(min=1) for seed in (0, 1))
    mask = torch.ones(20, 6, dtype=torch.bool)
    hidden, _ = Masking(0.5, 1.0, 0.0, 0.0, 12).hide({"one": one, "other": other.float() / 255}, mask, generator())
    black = [(images == 0).flatten(2).all(2) for images in hidden.values()]
    assert torch.equal(*black) and 0 < int(black[0].sum()) < 120
    assert hidden["other"].dtype == torch.float32
    torch.manual_seed(0)
    encoder = Encoder({"one": FieldCNN(8), "other": FieldCNN(8)}, spaces.Dict({"one": SPACE, "other": SPACE}))
    windows = rolling_patterns(20, 6, 0)._replace(observations={"one": one, "other": other})
    assert torch.isfinite(Masked(encoder, horizon=5, sequences=8)(encoder, windows)[0])


def test_every_parameter_gets_a_gradient_and_the_momentum_copies_none():
    encoder = make_map_encoder()
    masked = Masked(encoder, horizon=3, layers=2)
    assert_gradients(masked, encoder, rolling_patterns(16, 4, 0), without=COPIES)


def test_the_momentum_copies_follow_and_the_state_survives_a_round_trip():
    encoder = make_map_encoder()
    masked, other = (Masked(encoder, horizon=3, tau=0.25, negatives={"source": "queue", "queue_size": 40}) for _ in range(2))
    windows = ragged(6, 4)
    loss_from(masked, encoder, windows)
    expected = {}
    for name, source in (("key_encoder", encoder), ("key_projection", masked.projection)):
        for p in source.parameters():
            p.data += 0.1
        target = getattr(masked, name)
        expected[name] = [0.75 * k + 0.25 * p.detach() for k, p in zip(target.parameters(), source.parameters(), strict=True)]
    masked.after_step(encoder)
    for name, values in expected.items():
        torch.testing.assert_close(list(getattr(masked, name).parameters()), values)
    assert masked.queue is not None and int(masked.queue.valid.sum()) == int(windows.mask.sum())
    other.load_state_dict(masked.state_dict())
    assert loss_from(masked, encoder, windows) == loss_from(other, encoder, windows) > 0
    momentum_update(other.key_projection, other.projection, 1.0)
    assert loss_from(masked, encoder, windows) != loss_from(other, encoder, windows)


def test_what_is_beyond_an_episodes_end_changes_nothing():
    encoder = make_map_encoder()
    masked = Masked(encoder, horizon=3, share=0.6, exchanged=0.2, augment=None)
    windows = ragged(6, 4)
    assert loss_from(masked, encoder, windows) == loss_from(masked, encoder, scrambled_beyond_the_end(windows))


def test_only_so_many_windows_take_part():
    encoder = make_map_encoder()
    masked = Masked(encoder, horizon=3, sequences=4)
    assert loss_from(masked, encoder, rolling_patterns(4, 4, 0)) == loss_from(masked, encoder, longer_batch())


def longer_batch():
    few, more = rolling_patterns(4, 4, 0), rolling_patterns(9, 4, 1)
    return type(few)(*(torch.cat(columns) for columns in zip(few, more, strict=True)))


def test_masked_frames_are_rebuilt_from_their_neighbours_and_nothing_is_learnt_without_them():
    encoder = make_map_encoder()
    masked = Masked(encoder, horizon=4, latent_dim=64, augment=None, zeroed=1.0, exchanged=0.0)  # no frame gives itself away
    train_on(fading_patterns, masked, encoder, 80)
    assert held_out_on(fading_patterns, masked, encoder)["accuracy"] > 0.1  # chance is 1/320
    independent = held_out_on(fading_patterns, masked, encoder, structure=False)
    assert independent["accuracy"] < 0.05 and independent["mi_lower_bound"] < 0.05
    encoder = make_map_encoder()
    shuffled = Masked(encoder, horizon=4, latent_dim=64, augment=None, zeroed=1.0, exchanged=0.0, shuffled=True)
    train_on(fading_patterns, shuffled, encoder, 40)
    result = held_out_on(fading_patterns, shuffled, encoder)
    assert result["accuracy"] < 0.05 and result["mi_lower_bound"] < 0.05


def test_the_picture_shows_hidden_frames_above_whole_ones():
    encoder = make_map_encoder()
    masked = Masked(encoder, horizon=3, share=0.5, zeroed=1.0, exchanged=0.0, augment=None)
    masked.generator = generator(4)
    windows = rolling_patterns(5, 4, 0)
    above, below = masked.pictures(encoder, windows)
    assert torch.equal(below, windows.observations.flatten(0, 1))
    black = (above == 0).flatten(1).all(1)
    assert 0 < int(black.sum()) < 20 and torch.equal(above[~black], below[~black])
    whole, other = masked.pairs(windows)
    assert torch.equal(whole, other) and torch.equal(whole, windows.observations[:, 0])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"share": 0.0}, "share is 0.0"),
        ({"zeroed": 0.8, "exchanged": 0.3}, "together at most 1"),
        ({"patch_share": 1.0}, "some patches must be left"),
        ({"horizon": 0}, "rebuilt from others"),
        ({"latent_dim": 10, "heads": 3}, "share it out evenly"),
        ({"tau": 0.0}, "tau is 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Masked(make_map_encoder(), **setting)
