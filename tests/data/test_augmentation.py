"""Random crops and flips: each image is a part of its own padded image, and nothing but the draws decides."""

import numpy as np
import pytest

from artclip.data.augmentation import RandomCropFlip, augmentation_of


def images(n=40, shape=(3, 6, 5)):
    return np.random.default_rng(0).integers(1, 256, (n, *shape), np.uint8)  # none is 0, as the padding is


@pytest.mark.parametrize("flip", [True, False])
def test_each_image_is_a_crop_of_its_padded_self(flip):
    x, p = images(), 2
    found = RandomCropFlip(p, flip)(x, np.random.default_rng(1))
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    places = set()
    for image, one in zip(x, found, strict=True):
        padded = np.pad(image, ((0, 0), (p, p), (p, p)))
        crops = {(i, j, 0): padded[:, i : i + 6, j : j + 5] for i in range(2 * p + 1) for j in range(2 * p + 1)}
        crops |= {(i, j, 1): crop[..., ::-1] for (i, j, _), crop in crops.items()}
        (place,) = (place for place, crop in crops.items() if (crop == one).all())
        places.add(place)
    assert len(places) > 15
    assert {mirrored for _, _, mirrored in places} == ({0, 1} if flip else {0})
    assert {i for i, _, _ in places} == {j for _, j, _ in places} == set(range(2 * p + 1))


def test_without_padding_and_flips_nothing_changes():
    x = images()
    np.testing.assert_array_equal(RandomCropFlip(0, False)(x, np.random.default_rng(0)), x)
    flipped = RandomCropFlip(0)(x, np.random.default_rng(0))
    mirrored = (flipped != x).any((1, 2, 3))
    np.testing.assert_array_equal(flipped[mirrored], x[mirrored][..., ::-1])
    assert 10 < mirrored.sum() < 30


def test_pixels_floats_and_both_orders_of_axes_give_the_same_images():
    x, crop = images(), RandomCropFlip(1)
    first = crop(x, np.random.default_rng(2))
    floats = crop(x.astype(np.float32) / 255, np.random.default_rng(2))
    np.testing.assert_array_equal(floats, first.astype(np.float32) / 255)
    last = crop(np.moveaxis(x, 1, -1), np.random.default_rng(2))
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), first)
    told = RandomCropFlip(1, channels_first=True)(images(shape=(1, 7, 3)), np.random.default_rng(2))
    assert told.shape == (40, 1, 7, 3)


def test_what_is_no_image_is_refused():
    for shape in ((8, 6), (8, 2, 3, 4, 4), (8, 7, 7, 7)):
        with pytest.raises(ValueError, match="crop-flip"):
            RandomCropFlip()(np.zeros(shape), np.random.default_rng(0))


def test_names():
    assert augmentation_of(None) is None
    assert augmentation_of("crop-flip") == RandomCropFlip(4, True)
    assert augmentation_of("crop-flip:padding=2,flip=0", True) == RandomCropFlip(2, False, True)
    assert str(augmentation_of("crop-flip")) == "crop-flip:padding=4,flip=1"
    assert augmentation_of(len) is len
    for bad in ("flip", "crop-flip:padding=-1", "crop-flip:size=3", "crop-flip:padding", ""):
        with pytest.raises(ValueError, match="augmentation="):
            augmentation_of(bad)
    with pytest.raises(TypeError, match="augmentation=3 is an int"):
        augmentation_of(3)
    for options in ({"padding": -1}, {"padding": 1.5}):
        with pytest.raises(ValueError, match="padding="):
            RandomCropFlip(**options)
    with pytest.raises((ValueError, TypeError), match="flip="):
        augmentation_of("crop-flip:flip=2")
