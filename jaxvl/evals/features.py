"""Encoded images and texts on the host, as the evaluators use them.

Letters: I images, T texts, N image tokens, L text tokens, D width, E embedding.
"""

from typing import NamedTuple

import numpy as np


class ImageFeatures(NamedTuple):
    """Image tokens (None where they are not needed) and unit embeddings in float32."""

    tokens_IxNxD: np.ndarray | None
    embeddings_IxE: np.ndarray


class TextFeatures(NamedTuple):
    """Text states (None for a model without a fusion encoder), the mask that is False at padding,
    and unit embeddings in float32."""

    states_TxLxD: np.ndarray | None
    mask_TxL: np.ndarray
    embeddings_TxE: np.ndarray
