"""Retrieval in both directions: R@1, R@5 and R@10 by cosine similarity, re-ranked by match logit.

Letters: I images, T distinct texts, P pairs of an image and a text, C captions (an image each),
Q queries, M candidates that a query ranks.
"""

from collections.abc import Iterable

import numpy as np
from ml_collections import ConfigDict

from jaxvl.evals.examples import Examples, distinct
from jaxvl.keys import Key
from jaxvl.types import MATCH, Evaluator, EvaluatorComponent

CUTS = (1, 5, 10)


def make(config: ConfigDict, *, scorer, examples: Examples) -> Evaluator:
    """Returns the Evaluator: i2t_r1 ... t2i_r10, their mean, and the level of chance.

    The evals.retrieval.rerank best candidates of a query are ranked again by the match logit alone;
    the others follow in the order of their similarity. An image's rank is that of the best of its
    captions. A caption that several images share is right for each of them, unless
    evals.retrieval.same_caption is "negative". Chance is what equal scores give a caption, which is
    close to the chance of an image.
    """
    captions = [caption for record in examples.records for caption in record["captions"]]
    image_C = np.repeat(
        np.arange(len(examples.records)), [len(record["captions"]) for record in examples.records]
    )
    tokens, text_C = distinct(examples.tokenize(captions))
    options = config.evals.retrieval
    rerank, shared = options.rerank if scorer.match else 0, options.same_caption == "positive"

    def run(params, progress=False):
        count = len(examples.records)
        images = scorer.images(params, examples.images(), count=count, progress=progress)
        texts = scorer.texts(params, tokens, progress=progress)
        itc_IxT = images.embeddings_IxE @ texts.embeddings_TxE.T
        itc_IxT = np.nan_to_num(itc_IxT, nan=-2.0)  # below every cosine
        to_text_IxT, to_image_TxI = itc_IxT, itc_IxT.T
        if rerank:
            chosen_IxT, chosen_TxI = top(itc_IxT, rerank), top(itc_IxT.T, rerank)
            pairs_Px2 = np.argwhere(chosen_IxT | chosen_TxI.T)
            match_IxT = np.zeros(itc_IxT.shape, np.float32)
            logits_Px2 = scorer.match(params, images, texts, pairs_Px2, progress=progress)
            match_IxT[*pairs_Px2.T] = np.nan_to_num(logits_Px2[:, MATCH], nan=-1e9)
            to_text_IxT = put_first(itc_IxT, match_IxT, chosen_IxT)
            to_image_TxI = put_first(itc_IxT.T, match_IxT.T, chosen_TxI)
        recalls = {
            **text_recalls(to_text_IxT, image_C, text_C, shared=shared),
            **image_recalls(to_image_TxI, image_C, text_C, shared=shared),
        }
        nothing = np.broadcast_to(0.0, to_image_TxI.shape)
        constant = image_recalls(nothing, image_C, text_C, shared=shared)
        chance = {f"r{k}_chance": constant[f"t2i_r{k}"] for k in CUTS}
        return {**recalls, "mean_recall": float(np.mean(list(recalls.values()))), **chance}

    return Evaluator(run)


def top(scores_QxM: np.ndarray, count: int) -> np.ndarray:
    """Returns bool [Q, M], True at the `count` highest of each row; of equals, the first ones."""
    if count >= scores_QxM.shape[1]:
        return np.ones(scores_QxM.shape, bool)
    least_Qx1 = -np.partition(-scores_QxM, count - 1, axis=1)[:, count - 1, None]
    above_QxM, equal_QxM = scores_QxM > least_Qx1, scores_QxM == least_Qx1
    room_Qx1 = count - above_QxM.sum(axis=1, keepdims=True)
    return above_QxM | (equal_QxM & (np.cumsum(equal_QxM, axis=1) <= room_Qx1))


def put_first(itc_QxM: np.ndarray, match_QxM: np.ndarray, chosen_QxM: np.ndarray) -> np.ndarray:
    """Returns scores that order the chosen by `match`, and behind them the others by `itc`."""
    itc_QxM, match_QxM = itc_QxM.astype(np.float64), match_QxM.astype(np.float64)
    last_Qx1 = np.where(chosen_QxM, match_QxM, np.inf).min(axis=1, keepdims=True)
    behind_QxM = last_Qx1 - 1 - (itc_QxM.max(axis=1, keepdims=True) - itc_QxM)
    return np.where(chosen_QxM, match_QxM, behind_QxM)


def text_recalls(
    scores_IxT: np.ndarray, image_C: np.ndarray, text_C: np.ndarray, *, shared: bool
) -> dict[str, float]:
    """Returns i2t_r1, i2t_r5, i2t_r10: shares of images with one of their captions among the first.

    image_C, text_C: the image and the distinct text of each caption. shared: a caption of another
    image is right too where it is the same text.
    """
    captions_T = np.bincount(text_C, minlength=scores_IxT.shape[1])
    by_image = np.argsort(image_C, kind="stable")
    bounds = np.searchsorted(image_C[by_image], np.arange(len(scores_IxT) + 1))
    places = []
    for i, scores_T in enumerate(scores_IxT):
        own = text_C[by_image[bounds[i] : bounds[i + 1]]]
        best = scores_T[own].max()
        if shared:
            own = text_C[np.isin(text_C, own)]  # with the copies that other images have
        places.append(
            (
                captions_T[scores_T > best].sum(),
                captions_T[scores_T == best].sum(),
                (scores_T[own] == best).sum(),
            )
        )
    return _recalls("i2t", places)


def image_recalls(
    scores_TxI: np.ndarray, image_C: np.ndarray, text_C: np.ndarray, *, shared: bool
) -> dict[str, float]:
    """Returns t2i_r1, t2i_r5, t2i_r10: shares of captions with their image among the first.

    shared: all images with a caption of this text are right.
    """
    images_T: dict[int, set[int]] = {}
    for i, t in zip(image_C.tolist(), text_C.tolist()):
        images_T.setdefault(t, set()).add(i)
    places = []
    for i, t in zip(image_C.tolist(), text_C.tolist()):
        right = list(images_T[t]) if shared else [i]
        best = scores_TxI[t, right].max()
        own = (scores_TxI[t, right] == best).sum()
        places.append(((scores_TxI[t] > best).sum(), (scores_TxI[t] == best).sum(), own))
    return _recalls("t2i", places)


def _recalls(name: str, places: Iterable[tuple]) -> dict[str, float]:
    above_Q, equal_Q, own_Q = np.array(list(places)).T
    return {f"{name}_r{k}": float(hits(above_Q, equal_Q, own_Q, k).mean()) for k in CUTS}


def hits(above_Q: np.ndarray, equal_Q: np.ndarray, own_Q: np.ndarray, k: int) -> np.ndarray:
    """Returns the probability [Q] that a right answer is among the first k, equals in any order.

    above: candidates ranked before the best right answer. equal: candidates with its score, right
    ones included. own: how many of these are right. A scorer that gives one score to everything is
    therefore at chance.
    """
    missed_Q = np.ones(len(above_Q))
    for drawn in range(k):
        wrong_Q = np.maximum(equal_Q - own_Q - drawn, 0) / np.maximum(equal_Q - drawn, 1)
        missed_Q *= np.where(above_Q + drawn < k, wrong_Q, 1)
    return 1 - missed_Q


RETRIEVAL = EvaluatorComponent(
    make,
    keys={
        "evals": {
            "retrieval": {
                "rerank": Key(
                    128, "candidates of a query that the match logit ranks again; 0: none", low=0
                ),
                "same_caption": Key(
                    "positive",
                    "a caption that several images share: positive, it is right for each of them; "
                    "negative, only for the image that it was written for, as in published results",
                    choices=("positive", "negative"),
                ),
            }
        }
    },
)
