"""Pictures against what they are made of."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from cpc_rl.diagnostics.gradient_map import gradient_map
from cpc_rl.diagnostics.pictures import COLOURS, colours, grid, nearest, newest, overlay
from cpc_rl.diagnostics.projector import write_projector
from cpc_rl.diagnostics.score_matrix import Scores, score_matrix, score_picture
from cpc_rl.encoder import IMAGE, Encoder
from cpc_rl.objectives import BYOL, CPC, CURL
from tests.synthetic import ACTIONS, make_encoder, rolling_patterns


def test_newest_frame_grid_and_colours():
    stack = torch.arange(2 * 4 * 2 * 2, dtype=torch.uint8).view(2, 4, 2, 2)
    frames = newest(stack)
    assert frames.shape == (2, 2, 2, 3) and (frames[1, :, :, 2] == stack[1, 3].numpy()).all()
    picture = grid([frames, frames + 1], gap=1, height=5)  # enlarged twice
    assert picture.shape == (9, 9, 3)
    assert (picture[5:9, :4] == (frames[0] + 1).repeat(2, 0).repeat(2, 1)).all() and (picture[4] == 255).all()
    np.testing.assert_array_equal(colours(np.array([0.0, 0.2, 1.0])), COLOURS[[0, 1, 5]])
    np.testing.assert_array_equal(colours(np.array(0.1)), ((COLOURS[0] + COLOURS[1]) / 2).round())


def test_nearest_equals_a_loop_and_stays_out_of_the_own_episode():
    rng = np.random.default_rng(0)
    features, episodes = rng.normal(size=(12, 4)), np.repeat([0, 1, 2], 4)
    for own in (None, episodes):
        found = nearest(torch.from_numpy(features), [1, 9], 3, own)
        for query, row in zip([1, 9], found, strict=True):
            others = [i for i in range(12) if (i != query if own is None else own[i] != own[query])]
            cosine = {i: features[i] @ features[query] / np.linalg.norm(features[i]) for i in others}
            assert row.tolist() == sorted(others, key=lambda i: -cosine[i])[:3]
    with pytest.raises(ValueError, match="fewer than 9"):
        nearest(torch.from_numpy(features), [0], 9, episodes)


def test_the_score_matrix_is_that_of_the_objective_and_leaves_no_trace():
    encoder = make_encoder(16)
    objective = CURL(encoder, augment=None)
    objective.generator = torch.Generator().manual_seed(0)
    state = objective.generator.get_state()
    windows = rolling_patterns(8, 1, 0)
    scores = score_matrix(objective, encoder, windows)
    with torch.no_grad():
        z, keys = (objective.read(f(windows.observations[:, 0])) for f in (encoder, objective.key_encoder))
    for i, j in np.ndindex(8, 8):
        assert float(scores.values[i, j]) == pytest.approx(float(z[i] @ objective.W.detach() @ keys[j]), rel=1e-4, abs=1e-5)
    assert scores.targets.tolist() == list(range(8)) and not scores.values.requires_grad
    assert "contrast_scores" not in objective.__dict__ and torch.equal(objective.generator.get_state(), state)
    cpc = CPC(encoder, ACTIONS)
    cpc.generator = torch.Generator().manual_seed(0)
    assert score_matrix(cpc, encoder, rolling_patterns(8, cpc.horizon + 1, 0)).values.shape[1] >= 8
    byol = BYOL(encoder)
    assert score_matrix(byol, encoder, windows) is None


def test_the_score_picture_puts_positives_on_the_diagonal():
    values = torch.zeros(3, 5)
    targets = torch.tensor([4, 0, 2])
    values[range(3), targets] = torch.tensor([1.0, 7.0, 0.1])
    picture = score_picture(Scores(values, targets), cell=2)
    assert picture.shape == (6, 6, 3)
    for i, j in np.ndindex(6, 6):
        np.testing.assert_array_equal(picture[i, j], COLOURS[5 if i // 2 == j // 2 else 0])


class Weighted(nn.Module):
    """Features ``W x`` of an image, so that the derivative is known."""

    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(3 * 4 * 4, features)

    def forward(self, images):
        return self.linear(images.flatten(1))


def test_the_gradient_map_is_the_norm_of_the_derivative():
    torch.manual_seed(0)
    module = Weighted(5)
    encoder = Encoder({IMAGE: module}, spaces.Box(0, 255, (3, 4, 4), np.uint8))
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    exact = gradient_map(encoder, images, projections=None)[IMAGE]
    weight = module.linear.weight.detach().view(5, 3, 4, 4).numpy()  # of images in [0, 1]
    expected = np.zeros((4, 4))
    for f, c, i, j in np.ndindex(5, 3, 4, 4):
        expected[i, j] += weight[f, c, i, j] ** 2
    np.testing.assert_allclose(exact, np.sqrt(expected)[None].repeat(2, 0), rtol=1e-4)
    many = gradient_map(encoder, images, projections=3000)[IMAGE]
    np.testing.assert_allclose(many, exact, rtol=0.1)
    assert module.linear.weight.grad is None and module.training


def test_the_gradient_map_of_a_network_equals_finite_differences():
    encoder = make_encoder(8)
    images = rolling_patterns(1, 1, 3).observations[:, 0]
    exact = gradient_map(encoder, images, projections=None)[IMAGE][0]
    z = encoder.extractors[IMAGE](images.float() / 255)
    for i, j in ((18, 18), (4, 7), (30, 12)):
        moved = images.float() / 255
        moved[0, 0, i, j] += 1e-3
        change = (encoder.extractors[IMAGE](moved) - z).detach().norm() / 1e-3
        assert float(exact[i, j]) == pytest.approx(float(change), rel=0.02, abs=1e-3)
    assert float(exact.max()) > 0


def test_overlay_is_bright_where_the_map_is_high():
    frames = np.full((1, 40, 40, 3), 200, np.uint8)
    maps = np.zeros((1, 40, 40))
    maps[0, 10:20, 10:20] = 3.0
    picture = overlay(frames, maps)
    np.testing.assert_array_equal(picture[0, 15, 15], COLOURS[5])
    np.testing.assert_array_equal(picture[0, 35, 35], [100, 100, 100])


def test_projector_files_hold_features_labels_and_a_sprite(tmp_path):
    from PIL import Image

    features = torch.arange(15.0).view(5, 3)
    frames = np.zeros((5, 6, 10, 3), np.uint8)
    frames[3] = 200
    write_projector(tmp_path, features, frames, {"row": [0, 0, 1, 1, 2]}, step=7)
    config = (tmp_path / "projector_config.pbtxt").read_text()
    (tensors,) = tmp_path.rglob("tensors.tsv")
    rows = [line.split("\t") for line in tensors.read_text().splitlines()]
    np.testing.assert_array_equal(np.array(rows, float), features.numpy())
    (metadata,) = tmp_path.rglob("metadata.tsv")
    assert metadata.read_text().splitlines() == ["frame\trow", "0\t0", "1\t0", "2\t1", "3\t1", "4\t2"]
    (sprite,) = tmp_path.rglob("sprite.png")
    pixels = np.array(Image.open(sprite).convert("RGB"))
    assert pixels.shape == (30, 30, 3) and (pixels[10:16, :10] == 200).all() and pixels[:10].max() == 0  # squares of 10
    assert "single_image_dim: 10" in config and "sprite.png" in config
