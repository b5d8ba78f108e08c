"""Brightness, contrast, colour jitter, grayscale and intensity against per-pixel NumPy loops."""

import colorsys

import numpy as np
import pytest
import torch

from cpc_rl.augment import Brightness, ColorJitter, Contrast, Grayscale, Intensity
from cpc_rl.augment.color_space import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_frames(n=3, stack=2, channels=3, size=4):
    """Doubles (N, F, c, H, W) that hold black, white and grey pixels as well."""
    frames = torch.rand(n, stack, channels, size, size, dtype=torch.float64, generator=generator())
    frames[0, 0, :, 0, 0], frames[0, 0, :, 0, 1], frames[0, 0, :, 0, 2] = 0.0, 1.0, 0.5
    return frames


def by_pixel(frames, change):
    """Applies ``change(sample, frame, rgb)`` to every pixel."""
    result = np.empty_like(frames)
    for sample, frame, y, x in np.ndindex(*frames.shape[:2], *frames.shape[3:]):
        result[sample, frame, :, y, x] = change(sample, frame, frames[sample, frame, :, y, x])
    return result


def grey(rgb):
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def test_hue_equals_the_standard_librarys():
    frames, turns = random_frames(), torch.tensor([0.5, -0.2, 0.07], dtype=torch.float64)

    def turn(sample, _, rgb):
        hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((hue + turns[sample].item()) % 1, saturation, value)

    np.testing.assert_allclose(adjust_hue(frames, turns).numpy(), by_pixel(frames.numpy(), turn), atol=1e-12)


def test_brightness_contrast_and_saturation_equal_a_plain_loop():
    frames, factors = random_frames(), torch.tensor([0.0, 0.6, 1.7], dtype=torch.float64)
    numbers, factor = frames.numpy(), factors.tolist()
    means = [[np.mean([grey(rgb) for rgb in frame.reshape(3, -1).T]) for frame in sample] for sample in numbers]

    brightness = by_pixel(numbers, lambda i, f, rgb: np.clip(factor[i] * rgb, 0, 1))
    np.testing.assert_allclose(adjust_brightness(frames, factors).numpy(), brightness, atol=1e-12)
    contrast = by_pixel(numbers, lambda i, f, rgb: np.clip(means[i][f] + factor[i] * (rgb - means[i][f]), 0, 1))
    np.testing.assert_allclose(adjust_contrast(frames, factors).numpy(), contrast, atol=1e-12)
    saturation = by_pixel(numbers, lambda i, f, rgb: np.clip(grey(rgb) + factor[i] * (rgb - grey(rgb)), 0, 1))
    np.testing.assert_allclose(adjust_saturation(frames, factors).numpy(), saturation, atol=1e-12)


def test_brightness_factors_fill_their_range():
    factors = Brightness(0.4)(torch.full((5000, 1, 1, 1), 0.5), generator()).flatten() / 0.5
    assert 0.6 <= factors.min() < 0.601 and 1.399 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 0.01
    assert Brightness(3.0)(torch.full((500, 1, 1, 1), 0.1), generator()).min() < 0.005  # cut at zero, never below


def test_integers_are_rounded_to_the_nearest_level():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    factor = torch.rand(1, generator=generator()).item() * 0.8 + 0.6
    expected = np.clip(np.rint(np.arange(256) * factor), 0, 255)
    difference = Brightness(0.4)(images, generator()).numpy().ravel().astype(int) - expected
    # Where the product lies within float32's error of a half either level is right; a truncation would differ on half of them.
    assert np.abs(difference).max() <= 1 and (difference != 0).sum() <= 1


def test_contrast_of_frames_of_one_channel_and_of_three():
    images = torch.rand(2, 3, 4, 4, generator=generator())
    three = Contrast(0.5, channels_per_frame=1)(images, generator())
    apart = torch.cat([Contrast(0.5)(images[:, i : i + 1], generator()) for i in range(3)], dim=1)
    torch.testing.assert_close(three, apart)
    assert not torch.allclose(three, Contrast(0.5)(images, generator()), atol=1e-3)


def test_jitter_changes_hue_and_saturation_of_colour_alone():
    grey_images = torch.rand(4, 1, 5, 5, generator=generator()).expand(4, 3, 5, 5)
    colour_alone = ColorJitter(brightness=0, contrast=0, saturation=0.9, hue=0.5)
    torch.testing.assert_close(colour_alone(grey_images, generator()), grey_images)
    images = torch.rand(4, 3, 5, 5, generator=generator())
    changed = colour_alone(images, generator())
    assert (changed - images).abs().mean() > 0.05


def test_jitter_turns_the_hue_both_ways_up_to_its_setting():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(2000, 3, 1, 1)
    turned = ColorJitter(brightness=0, contrast=0, saturation=0, hue=0.1)(red, generator()).flatten(1)
    assert (turned[:, 0] == 1).all()
    # From red, the hue goes by green one way and by blue the other, reaching either in a sixth of the circle.
    for other in (1, 2):
        assert 0.59 < turned[:, other].max() <= 0.6001
        assert 0.45 < (turned[:, other] > 0).float().mean() < 0.55


def test_jitter_with_a_probability_leaves_the_others_alone():
    images = torch.rand(2000, 3, 2, 2, generator=generator())
    changed = (ColorJitter(probability=0.8)(images, generator()) != images).flatten(1).any(1)
    assert 0.77 < changed.float().mean() < 0.83


@pytest.mark.parametrize("channels", [3, 9])
def test_grayscale_turns_whole_samples_grey(channels):
    images = torch.randint(0, 256, (1000, channels, 3, 3), dtype=torch.uint8, generator=generator())
    result = Grayscale(0.3)(images, generator())
    turned = (result != images).flatten(1).any(1)
    assert 0.25 < turned.float().mean() < 0.35
    frames = images[turned].unflatten(1, (-1, 3)).numpy().astype(float)
    expected = np.rint(0.299 * frames[:, :, 0] + 0.587 * frames[:, :, 1] + 0.114 * frames[:, :, 2])
    for channel in range(3):
        assert np.abs(result[turned].unflatten(1, (-1, 3))[:, :, channel].numpy() - expected).max() <= 1
    assert torch.equal(result[:, 0::3][turned], result[:, 2::3][turned])


def test_grayscale_of_grey_frames_is_refused():
    with pytest.raises(ValueError, match="needs stacks of RGB frames"):
        Grayscale()(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="needs stacks of RGB frames"):
        Grayscale(channels_per_frame=1)(torch.zeros(1, 3, 8, 8))


def test_intensity_is_sprs():
    images = torch.ones(4000, 1, 1, 1)
    factors = Intensity(0.05)(images, generator()).flatten()
    noise = torch.randn(4000, generator=generator())
    torch.testing.assert_close(factors, 1 + 0.05 * noise.clamp(-2, 2))
    assert factors.max() == pytest.approx(1.1) and factors.min() == pytest.approx(0.9)
    assert Intensity(0.05)(torch.full((50, 1, 1, 1), 255, dtype=torch.uint8), generator()).max() == 255


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"hue must lie between 0 and 0\.5, but it is 0\.7"):
        ColorJitter(hue=0.7)
    with pytest.raises(ValueError, match="strength must lie between 0 and inf"):
        Contrast(-0.1)
    with pytest.raises(ValueError, match=r"channels_per_frame must be 1 \(grey\), 3 \(RGB\) or None, but it is 2"):
        ColorJitter(channels_per_frame=2)
    with pytest.raises(ValueError, match="4 channels cannot be stacks of frames with 3 channels each"):
        Contrast(channels_per_frame=3)(torch.zeros(1, 4, 8, 8))
