"""A data set's images and captions as a run's model encodes them.

Letters: I images, T distinct texts, C captions, E embedding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jaxvl.clean.records import DataSet
from jaxvl.data.images import untrusted
from jaxvl.evals.trained import TrainedModel

_IMAGES = 256
_TEXTS = 1024
_MAX_SIDE = 640  # as `jaxvl prepare folder` stores images


class Encoded(NamedTuple):
    """Embeddings of unit length, and the image and the text of each caption, as their rows."""

    images_IxE: np.ndarray
    texts_TxE: np.ndarray
    image_C: np.ndarray
    text_C: np.ndarray


def encode(model: TrainedModel, data: DataSet, rows: Sequence[int]) -> Encoded:
    """Returns the Encoded of these rows of a data set; I counts the rows.

    Raises UserError for a caption that the model cannot read.
    """
    captions = [caption for row in rows for caption in data.records[row].captions]
    image_C = np.repeat(np.arange(len(rows)), [len(data.records[row].captions) for row in rows])
    texts, text_C = np.unique(np.array(captions, object), return_inverse=True)
    images = []
    for start in tqdm(range(0, len(rows), _IMAGES), desc="encoding images", unit="batch"):
        some = data.contents(rows[start : start + _IMAGES])
        images.append(model.encode_image(list(map(_opened, some))).embedding)
    found = [
        model.encode_text(texts[start : start + _TEXTS].tolist()).embedding
        for start in tqdm(range(0, len(texts), _TEXTS), desc="encoding captions", unit="batch")
    ]
    return Encoded(np.concatenate(images), np.concatenate(found), image_C, text_C.reshape(-1))


def _opened(content: bytes | untrusted.Location):
    if isinstance(content, untrusted.Location):
        content = untrusted.read(content)
    with untrusted.opened(content) as image:
        return untrusted.upright_image(image, max_side=_MAX_SIDE)
