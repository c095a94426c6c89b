"""Images of 8 bits stand for their floats, number for number, and no training makes all of these at once."""

import pickle

import numpy as np
import pytest

from artclip import checks
from artclip.data import Uint8Images
from artclip.hashing.digests import digest

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 5), np.uint8)
FLOATS = PIXELS.astype(np.float32) / 255


def test_they_are_their_floats():
    images = Uint8Images(PIXELS)
    assert (images.shape, images.ndim, images.dtype, len(images)) == (FLOATS.shape, 4, np.float32, 10)
    for index in (3, slice(2, 5), [1, 1, 7], np.array([9, 0]), PIXELS[:, 0, 0, 0] > 99, (slice(None), 0), np.int64(-1)):
        found = images[index]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, FLOATS[index])
    np.testing.assert_array_equal(images, FLOATS)
    assert np.asarray(images, np.float64).dtype == np.float64
    np.testing.assert_array_equal(Uint8Images(np.arange(256, dtype=np.uint8)), np.arange(256, dtype=np.float32) / 255)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images)), FLOATS)


@pytest.mark.parametrize("bad", [FLOATS, PIXELS.tolist(), np.uint8(3), np.array(3, np.uint8), None])
def test_anything_but_unsigned_bytes_is_refused(bad):
    with pytest.raises(TypeError, match="give an array of unsigned bytes"):
        Uint8Images(bad)


def test_checks_take_them_as_they_are():
    images, y = Uint8Images(PIXELS), np.arange(10) % 3
    x, _ = checks.data(images, y, (3, 4, 5), 3, box=(0, 1))
    assert x is images
    with pytest.raises(ValueError, match="outside the clip_values"):
        checks.data(images, y, (3, 4, 5), 3, box=(0, 0.5))
    with pytest.raises(ValueError, match="input_shape asks for"):
        checks.data(images, y, (4, 5, 3), 3)


def test_a_digest_tells_them_apart():
    other = PIXELS.copy()
    other[5, 1, 2, 3] ^= 1
    assert digest(Uint8Images(PIXELS)) == digest(Uint8Images(PIXELS.copy()))
    assert digest(Uint8Images(PIXELS)) != digest(Uint8Images(other))
    assert digest(Uint8Images(PIXELS)) != digest(Uint8Images(PIXELS.reshape(10, 5, 4, 3)))
