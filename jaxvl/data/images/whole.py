"""A whole image, or the square in its middle, at the size that a model sees: for evaluation."""

import numpy as np

from jaxvl import preprocessing
from jaxvl.data.images import untrusted


def whole(encoded: bytes, size: int, *, crop: str = "none") -> np.ndarray:
    """Returns uint8 [size, size, 3] of an encoded image, decoded and resized by Pillow.

    Serving does the same, so a model is evaluated on the pixels that it is served with.
    crop: as in `preprocessing.resized`. Raises BadImage where the image cannot be used.
    """
    return preprocessing.resized(untrusted.from_bytes(encoded), size, crop=crop)
