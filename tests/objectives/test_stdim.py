import numpy as np
import pytest
import torch
from torch import nn

from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.objectives.local import positions
from cpc_rl.objectives.stdim import STDIM
from tests.objectives.head_checks import as_read, maps_as_read
from tests.objectives.map_encoder import drifting_patterns, make_map_encoder, make_two_map_encoder
from tests.objectives.training import assert_gradients, held_out_on, loss_from, scrambled_beyond_the_end, train_on
from tests.synthetic import SPACE, rolling_patterns


@torch.no_grad()
def loop_stdim(stdim: STDIM, encoder: Encoder, windows, same_trajectory: bool = False) -> float:
    """Literal: for each image entry both contrasts, for each position and each anchor one cross-entropy over the batch."""
    episodes = windows.episode.tolist()
    valid = [i for i in range(len(windows.mask)) if windows.mask[i, stdim.horizon]]
    observations = windows.observations
    frames = [
        {k: v[:, t] for k, v in observations.items()} if isinstance(observations, dict) else observations[:, t]
        for t in (0, stdim.horizon)
    ]
    (features, maps), (_, next_maps) = (encoder.with_maps(images) for images in frames)
    length = stdim.feature_length
    features = torch.stack([as_read(row, length) for row in features])
    maps, next_maps = ({k: maps_as_read(v, length) for k, v in some.items()} for some in (maps, next_maps))
    means = []
    for key in maps:
        height, width = maps[key].shape[2:]
        for local in (False, True):
            scorer = stdim.local_scorers[key] if local else stdim.global_scorers[key]
            losses = []
            for y in range(height):
                for x in range(width):
                    for i in valid:
                        anchor = scorer(maps[key][i, :, y, x] if local else features[i])
                        keys = [j for j in valid if not same_trajectory or episodes[j] == episodes[i]]
                        scores = torch.stack([anchor @ next_maps[key][j, :, y, x] for j in keys])
                        losses.append(float(torch.logsumexp(scores, 0) - scores[keys.index(i)]))
            means.append(np.mean(losses))
    return float(np.mean(means))


def sharpened(stdim: STDIM) -> STDIM:
    """With scores of the order of one, so that no part of the loss hides behind log K."""
    for p in stdim.parameters():
        p.data.mul_(4)
    return stdim


def ragged(windows, row: int, from_frame: int):
    windows.mask[row, from_frame:] = False
    return windows


@pytest.mark.parametrize(("horizon", "length"), [(1, None), (2, None), (1, 2.0)])
def test_loss_equals_a_literal_loop(horizon, length):
    encoder = make_map_encoder(8, stride=2)
    stdim = sharpened(STDIM(encoder, horizon=horizon, feature_length=length))
    windows = ragged(rolling_patterns(5, horizon + 1, 0), 2, horizon)
    loss, metrics = stdim(encoder, windows)
    expected = loop_stdim(stdim, encoder, windows)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4) and abs(expected - np.log(4)) > 0.05
    assert float(metrics["mi_ceiling"]) == pytest.approx(np.log(4), rel=1e-5)
    assert float(metrics["mi_lower_bound"]) == pytest.approx(np.log(4) - expected, abs=1e-4)


def test_each_position_keeps_the_trajectory_of_its_window():
    encoder = make_map_encoder(8, stride=2)
    stdim = sharpened(STDIM(encoder, negatives="same_trajectory"))
    windows = rolling_patterns(6, 2, 0)._replace(episode=torch.tensor([0, 0, 1, 1, 1, 0]), step=3 * torch.arange(6))
    expected = loop_stdim(stdim, encoder, windows, same_trajectory=True)
    assert float(stdim(encoder, windows)[0].detach()) == pytest.approx(expected, rel=1e-4)


def test_image_entries_have_their_own_maps_and_scorers_and_the_same_features():
    encoder = make_two_map_encoder()
    stdim = sharpened(STDIM(encoder))
    front, rear = rolling_patterns(4, 2, 0), rolling_patterns(4, 2, 1)
    windows = front._replace(observations={"front": front.observations, "rear": rear.observations})
    assert float(stdim(encoder, windows)[0].detach()) == pytest.approx(loop_stdim(stdim, encoder, windows), rel=1e-4)


def test_positions_of_a_large_map_are_averaged():
    feature_map = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    blocks = [feature_map[:, :, y : y + 3, x : x + 3].mean((2, 3)) for y in (0, 3) for x in (0, 3)]
    torch.testing.assert_close(positions(feature_map, 2), torch.stack(blocks))
    torch.testing.assert_close(positions(feature_map, 5)[6], feature_map[:, :, 1, 2])


@pytest.mark.parametrize("latent_dim", [None, 6])
def test_every_parameter_gets_a_gradient(latent_dim):
    encoder = make_map_encoder()
    assert_gradients(STDIM(encoder, latent_dim=latent_dim), encoder, rolling_patterns(8, 2, 0))
    assert STDIM.local


def test_both_frames_train_the_encoder():
    encoder = make_map_encoder()
    with encoder.recording() as recording:
        loss, _ = STDIM(encoder)(encoder, rolling_patterns(4, 2, 0))
    maps = recording.maps
    assert len(maps) == 2 and all(g.abs().sum() > 0 for g in torch.autograd.grad(loss, maps))


def test_what_is_beyond_an_episodes_end_changes_nothing():
    encoder = make_map_encoder()
    stdim = STDIM(encoder)
    windows = ragged(rolling_patterns(6, 2, 3), 2, 1)
    assert loss_from(stdim, encoder, windows) == loss_from(stdim, encoder, scrambled_beyond_the_end(windows))


def test_stdim_learns_where_the_pattern_drifts_and_nothing_of_independent_or_shuffled_frames():
    encoder = make_map_encoder()
    stdim = STDIM(encoder)
    train_on(drifting_patterns, stdim, encoder, 100)
    assert held_out_on(drifting_patterns, stdim, encoder)["accuracy"] > 0.13  # chance is 1/64, at every single position
    independent = held_out_on(drifting_patterns, stdim, encoder, structure=False)
    assert independent["accuracy"] < 0.03 and independent["mi_lower_bound"] < 0
    encoder = make_map_encoder()
    shuffled = STDIM(encoder, shuffled=True)
    train_on(drifting_patterns, shuffled, encoder, 60)
    result = held_out_on(drifting_patterns, shuffled, encoder)
    assert result["accuracy"] < 0.03 and result["mi_lower_bound"] < 0.02


def test_the_state_survives_a_round_trip():
    encoder = make_map_encoder()
    stdim, other = STDIM(encoder, augment="random_shift"), STDIM(encoder, augment="random_shift")
    windows = rolling_patterns(6, 2, 0)
    assert loss_from(stdim, encoder, windows) != loss_from(other, encoder, windows)
    other.load_state_dict(stdim.state_dict())
    assert loss_from(stdim, encoder, windows) == loss_from(other, encoder, windows)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="horizon is 0"):
        STDIM(make_map_encoder(), horizon=0)
    with pytest.raises(ValueError, match="grid is 0"):
        STDIM(make_map_encoder(), grid=0)
    with pytest.raises(ValueError, match="queue"):
        STDIM(make_map_encoder(), negatives="queue")
    flat = Encoder({IMAGE: nn.Sequential(nn.Flatten(), nn.Linear(36 * 36, 4))}, SPACE)
    with pytest.raises(ValueError, match="Sequential has no convolution"):
        STDIM(flat)
