"""Random shift, random crop and translate against plain NumPy loops."""

import numpy as np
import pytest
import torch

from cpc_rl.augment import RandomCrop, RandomShift, Translate, crop, shift


def random_images(n=6, channels=4, height=12, width=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def coordinate_images(n, height, width):
    """Every pixel its own value: row in channel 0, column in channel 1, from 1 on so that black is not an image value."""
    rows = torch.arange(1, height + 1, dtype=torch.uint8)[:, None].expand(height, width)
    columns = torch.arange(1, width + 1, dtype=torch.uint8)[None].expand(height, width)
    return torch.stack((rows, columns)).expand(n, 2, height, width).contiguous()


def shift_by_loop(images, offsets, pad):
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="edge")
    height, width = images.shape[2:]
    return np.stack([image[:, dy : dy + height, dx : dx + width] for image, (dy, dx) in zip(padded, offsets, strict=True)])


@pytest.mark.parametrize("pad", [0, 1, 4, 10, 15])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_shift_equals_a_plain_loop(pad, dtype):
    images = random_images().to(dtype)
    offsets = torch.randint(0, 2 * pad + 1, (len(images), 2), generator=torch.Generator().manual_seed(1))
    shifted = shift(images, offsets, pad)
    assert shifted.dtype == dtype
    np.testing.assert_array_equal(shifted.numpy(), shift_by_loop(images.numpy(), offsets.tolist(), pad))


def test_shift_by_every_offset_at_the_ends_of_the_batch():
    for n in (1, 2, 3):
        images = random_images(n, 2, 6, 5)
        for offset in np.ndindex(7, 7):
            offsets = torch.tensor(offset).expand(n, 2)
            expected = shift_by_loop(images.numpy(), [offset] * n, 3)
            np.testing.assert_array_equal(shift(images, offsets, 3).numpy(), expected)


def test_shift_of_images_in_another_memory_format():
    images = random_images().to(memory_format=torch.channels_last)
    offsets = torch.tensor([[0, 8]]).expand(len(images), 2)
    np.testing.assert_array_equal(shift(images, offsets, 4).numpy(), shift_by_loop(images.numpy(), offsets.tolist(), 4))


def test_random_shift_draws_every_offset_equally_often():
    pad, draws = 4, 81 * 400
    height = width = 2 * pad + 1
    # The pixel that lands in the centre tells the offset: a shift of (dy, dx) puts row dy and column dx there.
    images = coordinate_images(1, height, width).expand(draws, 2, height, width)
    shifted = RandomShift(pad)(images, torch.Generator().manual_seed(0))
    centre = shifted[:, :, pad, pad].long() - 1
    counts = torch.bincount(centre[:, 0] * width + centre[:, 1], minlength=81)
    assert len(counts) == 81 and counts.min() > 0
    # Chi-squared with 80 degrees of freedom: the mean is 80, its 99.99th percentile 134.
    assert ((counts - 400.0) ** 2 / 400.0).sum() < 134


def test_random_shift_moves_all_channels_of_a_sample_alike_and_samples_differently():
    frame = random_images(1, 1, 16, 16)
    shifted = RandomShift(4)(frame.expand(64, 9, 16, 16), torch.Generator().manual_seed(0))
    assert (shifted == shifted[:, :1]).all()
    assert len(torch.unique(shifted, dim=0)) > 30


def test_gradients_flow_through_the_shift():
    images = torch.rand(3, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor([[0, 4], [2, 2], [3, 1]])
    assert torch.autograd.gradcheck(lambda x: shift(x, offsets, 2), images)
    with torch.no_grad():
        assert torch.equal(shift(images, offsets, 2), shift(images.detach(), offsets, 2))


def test_crop_equals_a_plain_loop_and_draws_every_place():
    images = random_images(50, 3, 8, 7)
    offsets = torch.stack((torch.arange(50) % 4, torch.arange(50) % 3), dim=1)
    expected = np.stack([im[:, y : y + 5, x : x + 5] for im, (y, x) in zip(images.numpy(), offsets.tolist(), strict=True)])
    np.testing.assert_array_equal(crop(images, offsets, 5, 5).numpy(), expected)
    corners = RandomCrop((5, 6))(coordinate_images(400, 8, 7), torch.Generator().manual_seed(0))
    assert corners.shape == (400, 2, 5, 6)
    assert {tuple(corner) for corner in corners[:, :, 0, 0].tolist()} == {(y, x) for y in range(1, 5) for x in range(1, 3)}


def test_crop_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="A crop of 13 x 13 does not fit in images of 12 x 10"):
        RandomCrop(13)(random_images())


def test_translate_keeps_the_size_and_fills_with_black():
    moved = Translate(pad=2)(coordinate_images(300, 6, 6), torch.Generator().manual_seed(0)).long()
    places = set()
    for image in moved:
        # The centre never turns black: it tells which row and column came there.
        down, right = (4 - image[:, 3, 3]).tolist()
        places.add((down, right))
        for y, x in np.ndindex(6, 6):
            from_y, from_x = y - down, x - right
            inside = 0 <= from_y < 6 and 0 <= from_x < 6
            assert image[:, y, x].tolist() == ([from_y + 1, from_x + 1] if inside else [0, 0])
    assert places == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_translate_on_a_larger_canvas_keeps_every_pixel():
    images = random_images(40, 3, 6, 5)
    moved = Translate(size=(9, 7))(images, torch.Generator().manual_seed(0))
    assert moved.shape == (40, 3, 9, 7)
    for image, canvas in zip(images, moved, strict=True):
        found = [canvas[:, y : y + 6, x : x + 5].equal(image) for y in range(4) for x in range(3)]
        assert sum(found) == 1 and canvas.sum() == image.sum()  # there once, whole, and black around it
    with pytest.raises(ValueError, match="do not fit in a canvas of 4 x 4"):
        Translate(size=4)(images)


def test_an_empty_batch_stays_empty():
    assert RandomShift()(random_images()[:0]).shape == (0, 4, 12, 10)


def test_anything_but_a_batch_of_images_is_refused():
    with pytest.raises(ValueError, match="must have the shape"):
        RandomShift()(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="must be uint8"):
        RandomShift()(torch.zeros(1, 3, 8, 8, dtype=torch.int32))
    with pytest.raises(ValueError, match="pad must lie between 0 and inf"):
        RandomShift(-1)
