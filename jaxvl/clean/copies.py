"""Near-copies of images: by perceptual hash, then by their colours; and by a model's embeddings.

Letters: I images, E embedding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MAX_BITS = 10  # of 64 that two copies may differ in
COPY = 0.95  # least correlation of the colours of two copies
PERHAPS = 0.75  # least correlation of two images that may be copies
_AT_ONCE = 1024


class Copy(NamedTuple):
    """An image, the one that it is like, and how like: bits that differ, correlation of colours."""

    image: int
    of: int
    bits: int
    correlation: float


def standardised(colours_IxSxSx3: np.ndarray) -> np.ndarray:
    """Returns float32 [I, S*S*3] of unit length: colours without their mean and contrast."""
    flat = colours_IxSxSx3.astype(np.float32).reshape(len(colours_IxSxSx3), -1, 3)
    flat = (flat - flat.mean(axis=1, keepdims=True)).reshape(len(flat), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def find(
    phash_I: np.ndarray, colours_IxSxSx3: np.ndarray, order: Sequence[int]
) -> tuple[list[Copy], list[Copy]]:
    """Returns (copies, images that may be copies), each with the one that it is like.

    phash: uint64. order: rows, the best first: of several copies the first is kept, and each of the
    others is like it, not only like one that is like it. An image that may be a copy is kept, too.
    Every pair that is kept is compared: 20 seconds for 100,000 images, half an hour for a million.
    """
    flat_Ix768 = standardised(colours_IxSxSx3)
    kept, hashes = np.empty(len(phash_I), int), np.empty(len(phash_I), np.uint64)
    count, copies, perhaps = 0, [], []
    for i in order:
        bits = np.bitwise_count(hashes[:count] ^ phash_I[i])
        near = np.flatnonzero(bits <= MAX_BITS)
        if len(near):
            like = flat_Ix768[kept[near]] @ flat_Ix768[i]
            best = int(np.argmax(like))
            found = Copy(int(i), int(kept[near[best]]), int(bits[near[best]]), float(like[best]))
            if found.correlation >= COPY:
                copies.append(found)
                continue
            if found.correlation >= PERHAPS:
                perhaps.append(found)
        kept[count], hashes[count] = i, phash_I[i]
        count += 1
    return copies, perhaps


def alike(embeddings_IxE: np.ndarray, *, most: int) -> list[tuple[int, int, float]]:
    """Returns the `most` pairs of images (first, second, cosine) that a model finds most alike.

    Of each image only its nearest one is looked at. embeddings: of unit length.
    """
    found = []
    for start in range(0, len(embeddings_IxE), _AT_ONCE):
        cosines = embeddings_IxE[start : start + _AT_ONCE] @ embeddings_IxE.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -2
        nearest = cosines.argmax(axis=1)
        found += zip(start + rows, nearest, cosines[rows, nearest])
    pairs = {(int(min(i, j)), int(max(i, j))): round(float(cosine), 4) for i, j, cosine in found}
    ranked = sorted((-cosine, pair) for pair, cosine in pairs.items())
    return [(*pair, -cosine) for cosine, pair in ranked[:most]]
