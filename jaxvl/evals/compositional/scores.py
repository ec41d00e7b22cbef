"""A model's scores of every picture with every caption of a case, in pieces that fit into memory.

Letters: R cases, P pictures of a case, C captions of a case, I pictures, T texts, E embedding.
"""

from typing import NamedTuple

import numpy as np

PICTURES_AT_ONCE = 1024


class Cases(NamedTuple):
    """Indices of each case's pictures and captions; the first `true_count` captions are true."""

    picture_RxP: np.ndarray
    text_RxC: np.ndarray
    true_count: int


class Scores(NamedTuple):
    """Cosine similarities and match logits, float32; match is None for a model without fusion.

    blind: cosine of the captions with the mean of all pictures: what the model says of a text when
    it does not see the picture. text_TxE: unit embeddings.
    """

    cosine_RxPxC: np.ndarray
    match_RxPxC: np.ndarray | None
    blind_RxPxC: np.ndarray
    text_TxE: np.ndarray


def score(scorer, params, cases, *, read_pictures, tokens, progress):
    """Returns the Scores.

    read_pictures: int [n] -> batches of these pictures. tokens: of the T texts.
    """
    shape = (*cases.picture_RxP.shape, cases.text_RxC.shape[1])
    cosine_RxPxC = np.zeros(shape, np.float32)
    match_RxPxC = np.zeros(shape, np.float32) if scorer.match else None
    text_TxE, pictures_E = None, 0.0
    piece_R = cases.picture_RxP[:, 0] // PICTURES_AT_ONCE
    for piece in np.unique(piece_R):
        rows = np.flatnonzero(piece_R == piece)
        picture_I, picture_rxP = np.unique(cases.picture_RxP[rows], return_inverse=True)
        text_T, text_rxC = np.unique(cases.text_RxC[rows], return_inverse=True)
        picture_rxP = picture_rxP.reshape(len(rows), -1)
        text_rxC = text_rxC.reshape(len(rows), -1)
        pictures = scorer.pictures(
            params, read_pictures(picture_I), count=len(picture_I), progress=progress
        )
        some = type(tokens)(*(field[text_T] for field in tokens))
        texts = scorer.texts(params, some, progress=progress)
        if text_TxE is None:
            text_TxE = np.zeros((len(tokens.ids), texts.embeddings_TxE.shape[1]), np.float32)
        text_TxE[text_T] = texts.embeddings_TxE
        pictures_E = pictures_E + pictures.embeddings_IxE.sum(axis=0)
        zi_rxPx1xE = pictures.embeddings_IxE[picture_rxP][:, :, None]
        zt_rx1xCxE = texts.embeddings_TxE[text_rxC][:, None]
        cosine_RxPxC[rows] = (zi_rxPx1xE * zt_rx1xCxE).sum(axis=-1)
        if scorer.match:
            match_RxPxC[rows] = _match(
                scorer, params, pictures, texts, picture_rxP, text_rxC, progress=progress
            )
    blind_E = pictures_E / np.linalg.norm(pictures_E)
    blind_RxC = (text_TxE * blind_E[None]).sum(axis=-1)[cases.text_RxC]
    blind_RxPxC = np.broadcast_to(blind_RxC[:, None], shape)
    return Scores(cosine_RxPxC, match_RxPxC, blind_RxPxC, text_TxE)


def _match(scorer, params, pictures, texts, picture_rxP, text_rxC, *, progress):
    """Returns match logits [r, P, C], each pair of a picture and a text scored once."""
    shape = (*picture_rxP.shape, text_rxC.shape[1])
    pairs = np.stack(
        [
            np.broadcast_to(picture_rxP[:, :, None], shape).reshape(-1),
            np.broadcast_to(text_rxC[:, None], shape).reshape(-1),
        ],
        axis=1,
    )
    pairs_Px2, place = np.unique(pairs, axis=0, return_inverse=True)
    logits_P = scorer.match(params, pictures, texts, pairs_Px2, progress=progress)
    return logits_P[place.reshape(shape)]
