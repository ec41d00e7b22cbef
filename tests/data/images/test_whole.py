"""Whole images for evaluation are what Pillow makes of them, since serving uses Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxvl import preprocessing
from jaxvl.data.images.untrusted import BadImage
from jaxvl.data.images.whole import whole


def image_of(height, width, seed=0):
    """A smooth image."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("crop", ["none", "center"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_it_is_decoded_and_resized(kind, crop):
    image = encoded(image_of(60, 90), kind)
    expected = preprocessing.resized(Image.open(io.BytesIO(image)), 24, crop=crop)
    np.testing.assert_array_equal(whole(image, 24, crop=crop), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_grey_palette_and_transparent_images_become_rgb(mode):
    image = image_of(40, 40).convert(mode)
    expected = image.convert("RGB").resize((24, 24), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(whole(encoded(image), 24), expected)


def test_of_sixteen_bits_the_higher_eight_count():
    values = np.arange(0, 2**16, 2**16 // 64, dtype=np.uint16).reshape(8, 8)
    found = whole(encoded(Image.fromarray(values)), 8)
    np.testing.assert_array_equal(found, np.stack([values >> 8] * 3, axis=-1))


@pytest.mark.parametrize("bad", [b"", b"no image at all"])
def test_what_is_no_image_is_said_in_words(bad):
    with pytest.raises(BadImage, match="^not an image$"):
        whole(bad, 24)


def test_a_truncated_image_is_an_error():
    with pytest.raises(BadImage, match="truncated or damaged"):
        whole(encoded(image_of(60, 90), "JPEG")[:400], 24)
