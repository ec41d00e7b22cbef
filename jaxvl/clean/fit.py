"""How well captions fit their images, by a model, compared with the data's own neighbourhood.

Letters: I images, T distinct texts, C captions (an image each), R references, E embedding.
"""

from typing import NamedTuple

import numpy as np

_REFERENCES = 5_000  # images, and texts, that others are compared with
_NEIGHBOURS = 30
_AT_ONCE = 1024
_DRAWS = 20_000  # pairs of an image with a caption of another one


class Fit(NamedTuple):
    """How well captions fit.

    margin_C: see `margins`. random_C: the share of random pairs that fit at least as well; near 0
    for a caption that is right, anything for one of another image. told_apart: how often a caption
    fits its image better than a random pair does, 0.5..1: what the model can judge at all.
    """

    margin_C: np.ndarray
    random_C: np.ndarray
    told_apart: float


def judge(
    images_IxE: np.ndarray, texts_TxE: np.ndarray, image_C: np.ndarray, text_C: np.ndarray
) -> Fit:
    """Returns the Fit of captions. image_C, text_C: the image and the text of each, as rows.

    Embeddings are of unit length.
    """
    near_I = neighbourhood(images_IxE, spread(texts_TxE))
    near_T = neighbourhood(texts_TxE, spread(images_IxE))

    def of(image, text):
        return margins(images_IxE, texts_TxE, image, text, near_I=near_I, near_T=near_T)

    rng = np.random.default_rng(0)
    one, other = rng.integers(0, len(image_C), (2, _DRAWS))
    apart = image_C[one] != image_C[other]
    random = np.sort(of(image_C[one[apart]], text_C[other[apart]]))
    margin_C = of(image_C, text_C)
    below_C = np.searchsorted(random, margin_C) / max(1, len(random))
    return Fit(margin_C, 1 - below_C, float(below_C.mean()) if len(below_C) else 0.0)


def spread(rows_NxE: np.ndarray) -> np.ndarray:
    """Returns at most 5,000 rows, evenly spread: enough to know a neighbourhood by."""
    return rows_NxE[:: -(-len(rows_NxE) // _REFERENCES)]


def neighbourhood(rows_NxE: np.ndarray, references_RxE: np.ndarray) -> np.ndarray:
    """Returns float32 [N]: the mean cosine of each row with its 30 nearest references."""
    most = max(1, min(_NEIGHBOURS, len(references_RxE) // 3))
    found = [
        np.partition(rows_NxE[start : start + _AT_ONCE] @ references_RxE.T, -most, axis=1)[
            :, -most:
        ]
        for start in range(0, len(rows_NxE), _AT_ONCE)
    ]
    return np.concatenate([cosines.mean(axis=1) for cosines in found])


def margins(
    images_IxE: np.ndarray,
    texts_TxE: np.ndarray,
    image_P: np.ndarray,
    text_P: np.ndarray,
    *,
    near_I: np.ndarray,
    near_T: np.ndarray,
) -> np.ndarray:
    """Returns float32 [P]: the cosine of pairs above the mean of their two neighbourhoods.

    So a caption that fits everything a little, and an image that everything fits, gain nothing by
    this. Source: CSLS of Conneau et al. 2018, "Word translation without parallel data".
    """
    parts = []
    for start in range(0, len(image_P), _AT_ONCE):
        image, text = image_P[start : start + _AT_ONCE], text_P[start : start + _AT_ONCE]
        cosine = (images_IxE[image] * texts_TxE[text]).sum(axis=1)
        parts.append(cosine - (near_I[image] + near_T[text]) / 2)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
