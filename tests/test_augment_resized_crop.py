"""Random resized crop: against a plain loop, and what is drawn."""

import math

import numpy as np
import pytest
import torch

from cpc_rl.augment import RandomResizedCrop, make_augmentation, resized_crop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def crop_by_loop(image, corner, size):
    """Bilinear, the border repeated; image (H, W)."""
    height, width = image.shape
    result = np.zeros_like(image)
    for y, x in np.ndindex(height, width):
        from_y = min(max(corner[0] + (y + 0.5) * size[0] / height - 0.5, 0), height - 1)
        from_x = min(max(corner[1] + (x + 0.5) * size[1] / width - 0.5, 0), width - 1)
        top, left = int(from_y), int(from_x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        above = image[top, left] * (left + 1 - from_x) + image[top, right] * (from_x - left)
        below = image[bottom, left] * (left + 1 - from_x) + image[bottom, right] * (from_x - left)
        result[y, x] = above * (top + 1 - from_y) + below * (from_y - top)
    return result


def test_a_resized_crop_equals_a_plain_loop():
    images = torch.rand(5, 2, 7, 9, dtype=torch.float64, generator=generator())
    corners = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.5, 0.3], [4.0, 6.0], [0.0, 8.0]], dtype=torch.float64)
    sizes = torch.tensor([[7.0, 9.0], [4.0, 4.0], [3.1, 8.0], [3.0, 3.0], [7.0, 1.0]], dtype=torch.float64)
    expected = [
        [crop_by_loop(frame, corner, size) for frame in image]
        for image, corner, size in zip(images.numpy(), corners.tolist(), sizes.tolist(), strict=True)
    ]
    np.testing.assert_allclose(resized_crop(images, corners, sizes).numpy(), expected, atol=1e-12)


def test_an_even_enlargement_by_hand():
    images = torch.arange(4.0).expand(1, 1, 4, 4)
    enlarged = resized_crop(images, torch.tensor([[0.0, 1.0]]), torch.tensor([[4.0, 2.0]]))
    assert torch.allclose(enlarged, torch.tensor([0.75, 1.25, 1.75, 2.25]).expand(1, 1, 4, 4))


@pytest.mark.parametrize("shape", [(40, 40), (20, 60)])
def test_area_ratio_and_place_are_drawn_as_said(shape):
    # A ramp stays one under linear resampling: its first and last value, a half pixel inside, tell the crop.
    height, width = shape
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.float64).expand(height, width)
    ramps = torch.stack((rows, columns)).expand(4000, 2, height, width)
    cropped = RandomResizedCrop(scale=(0.2, 0.7))(ramps, generator())
    middle = cropped[:, :, 2:-2, 2:-2]  # away from the border, which is repeated
    sizes = (middle[:, 0, -1, 0] - middle[:, 0, 0, 0]) / (height - 5) * height
    widths = (middle[:, 1, 0, -1] - middle[:, 1, 0, 0]) / (width - 5) * width
    area, ratio = sizes * widths / (height * width), widths / sizes * height / width
    assert 0.2 <= area.min() < 0.202 and 0.698 < area.max() <= 0.7 + 1e-6
    assert 0.75 - 1e-6 <= ratio.min() < 0.753 and 1.327 < ratio.max() <= 4 / 3 + 1e-6
    # Means of uniform draws, four standard errors wide.
    assert abs(area.mean() - 0.45) < 4 * 0.5 / math.sqrt(12 * 4000)
    assert abs(ratio.log().mean()) < 4 * 2 * math.log(4 / 3) / math.sqrt(12 * 4000)
    top = middle[:, 0, 0, 0] + 0.5 - 2.5 * sizes / height
    place = top / (height - sizes)
    assert place.min() > -1e-6 and place.max() < 1 + 1e-6 and abs(place.mean() - 0.5) < 4 / math.sqrt(12 * 4000)


def test_sides_are_cut_at_the_image():
    ramp = torch.arange(8.0).expand(50, 1, 8, 8)  # grows along the width
    wide = RandomResizedCrop(scale=(1, 1), ratio=(2, 2))  # as wide as the root of 2 images, half as high
    assert torch.allclose(wide(ramp, generator()), ramp)
    turned = wide(ramp.mT, generator())[:, 0, 2:-2, 0]
    assert torch.allclose(turned.diff(dim=1), torch.tensor(0.5**0.5), atol=1e-5)


@pytest.mark.parametrize("keywords", [{"scale": (0, 1)}, {"scale": (0.5, 0.2)}, {"scale": (0.5, 1.5)}, {"ratio": (1, 2, 3)}])
def test_wrong_settings_are_refused(keywords):
    with pytest.raises(ValueError, match="must hold two numbers, the smaller one first, above 0"):
        make_augmentation({"random_resized_crop": keywords})
