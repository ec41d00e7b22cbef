"""A model's scores of every image with every caption of a case, in pieces that fit into memory.

Letters: R cases, r cases of a piece, J images of a case, C captions of a case, I images, T texts,
P pairs of an image and a text, E embedding.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.evals.scoring import Scorer
from jaxvl.types import MATCH, Params

IMAGES_AT_ONCE = 1024


class Cases(NamedTuple):
    """Indices of each case's images and captions; the first `true_count` captions are true."""

    image_RxJ: np.ndarray
    text_RxC: np.ndarray
    true_count: int


class Scores(NamedTuple):
    """Cosine similarities and match logits, float32; match is None without a fusion encoder.

    blind: cosine of the captions with the mean of all image embeddings, a score that does not
    depend on the image. text_TxE: unit embeddings.
    """

    cosine_RxJxC: np.ndarray
    match_RxJxC: np.ndarray | None
    blind_RxJxC: np.ndarray
    text_TxE: np.ndarray


def score(
    scorer: Scorer,
    params: Params,
    cases: Cases,
    *,
    batches: Callable[[np.ndarray], Iterator],
    tokens: Tokens,
    progress: bool,
) -> Scores:
    """Returns the Scores.

    batches: (int [n]) -> batches of these images. tokens: of the T texts.
    """
    shape = (*cases.image_RxJ.shape, cases.text_RxC.shape[1])
    cosine_RxJxC = np.zeros(shape, np.float32)
    match_RxJxC = np.zeros(shape, np.float32) if scorer.match else None
    text_TxE, images_E = np.zeros((0, 0), np.float32), np.zeros(())
    piece_R = cases.image_RxJ[:, 0] // IMAGES_AT_ONCE
    for piece in np.unique(piece_R):
        rows = np.flatnonzero(piece_R == piece)
        image_I, image_rxJ = np.unique(cases.image_RxJ[rows], return_inverse=True)
        text_T, text_rxC = np.unique(cases.text_RxC[rows], return_inverse=True)
        image_rxJ = image_rxJ.reshape(len(rows), -1)
        text_rxC = text_rxC.reshape(len(rows), -1)
        images = scorer.images(params, batches(image_I), count=len(image_I), progress=progress)
        some = Tokens(*(field[text_T] for field in tokens))
        texts = scorer.texts(params, some, progress=progress)
        if not len(text_TxE):
            text_TxE = np.zeros((len(tokens.ids), texts.embeddings_TxE.shape[1]), np.float32)
        text_TxE[text_T] = texts.embeddings_TxE
        images_E = images_E + images.embeddings_IxE.sum(axis=0)
        zi_rxJx1xE = images.embeddings_IxE[image_rxJ][:, :, None]
        zt_rx1xCxE = texts.embeddings_TxE[text_rxC][:, None]
        cosine_RxJxC[rows] = (zi_rxJx1xE * zt_rx1xCxE).sum(axis=-1)
        if match_RxJxC is not None:
            match_RxJxC[rows] = _match(
                scorer, params, images, texts, image_rxJ, text_rxC, progress=progress
            )
    blind_E = images_E / np.linalg.norm(images_E)
    blind_RxC = (text_TxE * blind_E[None]).sum(axis=-1)[cases.text_RxC]
    blind_RxJxC = np.broadcast_to(blind_RxC[:, None], shape)
    return Scores(cosine_RxJxC, match_RxJxC, blind_RxJxC, text_TxE)


def _match(
    scorer: Scorer,
    params: Params,
    images: ImageFeatures,
    texts: TextFeatures,
    image_rxJ: np.ndarray,
    text_rxC: np.ndarray,
    *,
    progress: bool,
) -> np.ndarray:
    """Returns match logits [r, J, C], each pair of an image and a text scored once."""
    assert scorer.match is not None
    shape = (*image_rxJ.shape, text_rxC.shape[1])
    pairs = np.stack(
        [
            np.broadcast_to(image_rxJ[:, :, None], shape).reshape(-1),
            np.broadcast_to(text_rxC[:, None], shape).reshape(-1),
        ],
        axis=1,
    )
    pairs_Px2, place = np.unique(pairs, axis=0, return_inverse=True)
    logits_Px2 = scorer.match(params, images, texts, pairs_Px2, progress=progress)
    return logits_Px2[place.reshape(shape), MATCH]
