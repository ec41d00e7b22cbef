"""A whole image, or the square in its middle, at the size that a model sees: for evaluation."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxvl import preprocessing
from jaxvl.data.images.untrusted import FORMATS, BadImage, eight_bits


def whole(encoded: bytes, size: int, *, crop: str = "none") -> np.ndarray:
    """Returns uint8 [size, size, 3] of an encoded image, decoded and resized by Pillow.

    Serving does the same, so a model is evaluated on the pixels that it is served with.
    crop: as in `preprocessing.resized`. Raises BadImage where the bytes are no image, and Pillow's
    errors where the image cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            return preprocessing.resized(eight_bits(image).convert("RGB"), size, crop=crop)
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
