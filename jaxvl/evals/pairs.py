"""Groups pairs of an image and a text by image, so that an image is prepared once for many texts.

Letters: P pairs, U groups of one image and C texts.
"""

from typing import NamedTuple

import numpy as np


class Units(NamedTuple):
    """Groups of one image and C texts, and the place of each pair in them.

    image_U, texts_UxC: a group's image and texts; unused places hold text 0.
    unit_P, slot_P: the group of each pair, and its place there.
    """

    image_U: np.ndarray
    texts_UxC: np.ndarray
    unit_P: np.ndarray
    slot_P: np.ndarray


def group_pairs(pairs_Px2: np.ndarray, *, most: int) -> Units:
    """Returns Units of rows (image, text) with C <= most.

    C is a power of two below `most`, since each C is compiled anew and the largest group differs
    between evaluations.
    """
    image_P, text_P = pairs_Px2.T
    order_P = np.argsort(image_P, kind="stable")
    _, first, of_P, counts = np.unique(
        image_P[order_P], return_index=True, return_inverse=True, return_counts=True
    )
    size = min(most, 1 << int(counts.max() - 1).bit_length())
    place_P = np.arange(len(order_P)) - first[of_P]
    units = -(-counts // size)
    unit_P = (np.cumsum(units) - units)[of_P] + place_P // size
    image_U = np.zeros(units.sum(), int)
    texts_UxC = np.zeros((units.sum(), size), int)
    image_U[unit_P] = image_P[order_P]
    texts_UxC[unit_P, place_P % size] = text_P[order_P]
    back_P = np.empty_like(order_P)
    back_P[order_P] = np.arange(len(order_P))
    return Units(image_U, texts_UxC, unit_P[back_P], (place_P % size)[back_P])
