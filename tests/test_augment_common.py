"""What holds for every augmentation by its name; cutout, patch mask, rotation; specifications."""

import pickle

import numpy as np
import pytest
import torch

from cpc_rl.augment import (
    AUGMENTATIONS,
    Compose,
    Cutout,
    Intensity,
    PatchMask,
    RandomResizedCrop,
    RandomShift,
    Rotation,
    make_augmentation,
    quarter_turn,
    rotate,
)

# Settings under which every sample of a batch of 16 x 16 images changes visibly.
STRONG = {
    "cutout": {"min_size": 3, "max_size": 8},
    "patch_mask": {"patch_size": 4},
    "random_crop": {"size": 12},
    "rotation": {"degrees": 180.0},
    "grayscale": {"probability": 0.5},
    "intensity": {"scale": 0.3},
}
# Settings under which nothing changes.
ZERO = {
    "brightness": {"strength": 0},
    "color_jitter": {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "contrast": {"strength": 0},
    "cutout": {"min_size": 0, "max_size": 0},
    "grayscale": {"probability": 0},
    "intensity": {"scale": 0},
    "patch_mask": {"ratio": 0},
    "random_crop": {"size": 16},
    "random_resized_crop": {"scale": (1, 1), "ratio": (1, 1)},
    "random_shift": {"pad": 0},
    "rotation": {"degrees": 0},
    "translate": {"pad": 0},
}
NAMES = sorted(AUGMENTATIONS)
DTYPES = [torch.uint8, torch.float32, torch.float64]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def strong(name):
    return make_augmentation({name: STRONG.get(name)})


def random_images(n=8, channels=9, dtype=torch.uint8):
    images = torch.randint(1, 256, (n, channels, 16, 16), dtype=torch.uint8, generator=generator(1))
    return images if dtype == torch.uint8 else images.to(dtype) / 255


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_dtype_shape_range_and_input_are_kept(name, dtype):
    images = random_images(dtype=dtype)
    before = images.clone()
    result = strong(name)(images, generator())
    assert result.dtype == dtype and result.device == images.device
    assert result.shape == ((8, 9, 12, 12) if name == "random_crop" else images.shape)
    assert torch.equal(images, before)
    assert result.min() >= 0
    # SPR's intensity does not clamp floating-point images: at most 1 + 2 * scale.
    assert result.max() <= (255 if dtype == torch.uint8 else 1.6 if name == "intensity" else 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_samples_differ_and_frames_of_a_stack_do_not(name):
    frame = random_images(1, 3).expand(64, 3, 16, 16)
    result = strong(name)(frame.repeat(1, 3, 1, 1), generator())
    frames = result.unflatten(1, (3, 3))
    assert torch.equal(frames[:, 0], frames[:, 1]) and torch.equal(frames[:, 0], frames[:, 2])
    different = len(torch.unique(result, dim=0))
    assert different == 2 if name == "grayscale" else different >= 20


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_alone_decides_the_draws(name):
    images, augmentation = random_images(), strong(name)
    global_state = torch.get_rng_state()
    first = augmentation(images, generator(3))
    assert torch.equal(torch.get_rng_state(), global_state)
    torch.rand(5)
    assert torch.equal(augmentation(images, generator(3)), first)
    assert not torch.equal(augmentation(images, generator(4)), first)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_generator_the_global_one_is_used(name):
    images, augmentation = random_images(), strong(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        first, second = augmentation(images), augmentation(images)
        torch.manual_seed(7)
        assert torch.equal(augmentation(images), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_zero_strength_changes_nothing(name, dtype):
    images = random_images(dtype=dtype)
    assert torch.equal(make_augmentation({name: ZERO[name]})(images, generator()), images)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_images(name):
    images = random_images(dtype=torch.float32).requires_grad_()
    strong(name)(images, generator()).sum().backward()
    assert images.grad is not None and images.grad.isfinite().all() and (images.grad != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_pickling_keeps_the_settings(name):
    augmentation = strong(name)
    again = pickle.loads(pickle.dumps(augmentation))
    assert again == augmentation and repr(again) == repr(augmentation)


def test_cutout_blacks_out_one_rectangle_within_the_image():
    images = torch.full((2000, 2, 10, 12), 9, dtype=torch.uint8)
    black = (Cutout(2, 4)(images, generator()) == 0).numpy()
    sizes, rows_hit, columns_hit = set(), set(), set()
    for sample in black:
        assert (sample[0] == sample[1]).all()
        rows, columns = np.flatnonzero(sample[0].any(1)), np.flatnonzero(sample[0].any(0))
        assert sample[0].sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        sizes.add((len(rows), len(columns)))
        rows_hit.update(rows.tolist())
        columns_hit.update(columns.tolist())
    assert sizes == {(h, w) for h in (2, 3, 4) for w in (2, 3, 4)}
    assert rows_hit == set(range(10)) and columns_hit == set(range(12))


def test_cutout_larger_than_the_image_covers_it():
    assert (Cutout(20, 30)(random_images(), generator()) == 0).all()


def test_patch_mask_blacks_out_an_exact_share_of_whole_patches():
    images = torch.full((500, 2, 12, 10), 9, dtype=torch.uint8)
    masked = (PatchMask(ratio=0.4, patch_size=4)(images, generator()) == 0).numpy()
    hit = set()
    for sample in masked:
        assert (sample[0] == sample[1]).all()
        count = 0
        for row, column in np.ndindex(3, 3):  # the last column of patches is 2 pixels wide
            patch = sample[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert patch.all() or not patch.any()
            count += patch.all()
            hit.update({(row, column)} if patch.all() else set())
        assert count == round(0.4 * 9)
    assert len(hit) == 9


def rotate_by_loop(image, degrees):
    """Bilinear, black outside; image (H, W)."""
    height, width = image.shape
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    result = np.zeros_like(image)
    for y, x in np.ndindex(height, width):
        up, right = (height - 1) / 2 - y, x - (width - 1) / 2
        # The pixel comes from where the opposite rotation takes it.
        from_right, from_up = cos * right + sin * up, cos * up - sin * right
        from_y, from_x = (height - 1) / 2 - from_up, from_right + (width - 1) / 2
        for yy in (int(np.floor(from_y)), int(np.floor(from_y)) + 1):
            for xx in (int(np.floor(from_x)), int(np.floor(from_x)) + 1):
                if 0 <= yy < height and 0 <= xx < width:
                    result[y, x] += image[yy, xx] * (1 - abs(from_y - yy)) * (1 - abs(from_x - xx))
    return result


def test_rotation_equals_a_plain_loop():
    images = torch.rand(4, 2, 7, 9, dtype=torch.float64, generator=generator())
    degrees = torch.tensor([0.0, 5.0, -33.0, 170.0], dtype=torch.float64)
    expected = [
        [rotate_by_loop(frame, angle) for frame in image]
        for image, angle in zip(images.numpy(), degrees.tolist(), strict=True)
    ]
    np.testing.assert_allclose(rotate(images, degrees).numpy(), expected, atol=1e-9)


def test_quarter_turns_are_exact():
    images = random_images(4)
    expected = np.stack([np.rot90(image, turn, axes=(1, 2)) for turn, image in enumerate(images.numpy())])
    np.testing.assert_array_equal(quarter_turn(images, torch.arange(4)).numpy(), expected)
    many = Rotation(quarter_turns=True)(images[:1].expand(4000, 9, 16, 16), generator())
    counts = torch.unique(many[:, 0, :2, :2].flatten(1), dim=0, return_counts=True)[1]
    assert len(counts) == 4 and counts.min() > 900
    with pytest.raises(ValueError, match="Quarter turns need square images, but these are 16 x 8"):
        Rotation(quarter_turns=True)(images[..., :8])


def test_compose_applies_one_after_the_other():
    images = random_images()
    one = generator()
    expected = Intensity()(RandomShift(2)(images, one), one)
    for spec in ({"random_shift": {"pad": 2}, "intensity": None}, [RandomShift(2), "intensity"]):
        assert torch.equal(make_augmentation(spec)(images, generator()), expected)
    assert make_augmentation("random_shift+intensity") == Compose([RandomShift(), Intensity()])
    assert make_augmentation(" random_shift + intensity ") == Compose([RandomShift(), Intensity()])


def test_specifications_that_need_no_composition():
    images = random_images()
    assert torch.equal(make_augmentation(None)(images), images)
    assert make_augmentation("random_shift") == RandomShift()
    assert make_augmentation({"random_shift": {"pad": 2}}) == RandomShift(2)

    def own(images, generator=None):
        return images

    assert make_augmentation(own) is own


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("random_shfit", "There is no augmentation 'random_shfit'; the known ones are brightness, color_jitter, contrast"),
        ("random_shift+", "There is no augmentation ''"),
        ({"random_shift": {"padding": 2}}, "The augmentation random_shift has no keyword padding; it takes pad"),
        ({"random_shift": 2}, "The keywords of random_shift must be a dictionary"),
        (7, "An augmentation is given as a name, a dictionary, a list or a callable, not as 7"),
    ],
)
def test_wrong_specifications_are_refused(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_augmentation(spec)


@pytest.mark.parametrize("augmentation", [Rotation(degrees=30), RandomResizedCrop()])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_finds_the_same_pixels(augmentation, dtype):
    images = random_images()
    whole = augmentation(images.float() / 255, generator=generator())
    half = augmentation((images.float() / 255).to(dtype), generator=generator())
    assert half.dtype == dtype
    assert (half.float() - whole).abs().max() < (1 / 100 if dtype == torch.bfloat16 else 1 / 500)
