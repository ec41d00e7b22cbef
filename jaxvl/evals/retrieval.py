"""Retrieval both ways: R@1, R@5, R@10 by contrastive similarity, re-ranked by the match logit.

Letters: I pictures, T distinct texts, Q queries, M what is ranked, C captions.
"""

import numpy as np

from jaxvl.evals.examples import distinct
from jaxvl.keys import Key
from jaxvl.types import Evaluator, EvaluatorComponent

CUTS = (1, 5, 10)


def make(config, *, scorer, examples):
    """Returns the Evaluator. evals.retrieval.rerank: candidates a query, ranked again by matching.

    Re-ranked candidates precede all others and are ordered by the match logit alone, the others
    keep their order. A picture's rank is that of the best of its captions. The chance is that of a
    caption's picture being among k of all, and about that of a picture's captions.
    """
    captions = [caption for record in examples.records for caption in record["captions"]]
    picture_C = np.repeat(
        np.arange(len(examples.records)), [len(record["captions"]) for record in examples.records]
    )
    tokens, text_C = distinct(examples.tokenize(captions))
    rerank = config.evals.retrieval.rerank if scorer.match else 0

    def run(params, progress=False):
        count = len(examples.records)
        pictures = scorer.pictures(params, examples.pictures(), count=count, progress=progress)
        texts = scorer.texts(params, tokens, progress=progress)
        itc_IxT = pictures.embeddings_IxE @ texts.embeddings_TxE.T
        itc_IxT = np.nan_to_num(itc_IxT, nan=-2.0)  # below every cosine
        to_text_IxT, to_picture_TxI = itc_IxT, itc_IxT.T
        if rerank:
            chosen_IxT, chosen_TxI = top(itc_IxT, rerank), top(itc_IxT.T, rerank)
            pairs_Px2 = np.argwhere(chosen_IxT | chosen_TxI.T)
            match_IxT = np.zeros(itc_IxT.shape, np.float32)
            logits_P = scorer.match(params, pictures, texts, pairs_Px2, progress=progress)
            match_IxT[*pairs_Px2.T] = np.nan_to_num(logits_P, nan=-1e9)
            to_text_IxT = put_first(itc_IxT, match_IxT, chosen_IxT)
            to_picture_TxI = put_first(itc_IxT.T, match_IxT.T, chosen_TxI)
        recalls = {
            **text_recalls(to_text_IxT, picture_C, text_C),
            **picture_recalls(to_picture_TxI, picture_C, text_C),
        }
        chance = {f"r{k}_chance": min(1.0, k / count) for k in CUTS}
        return {**recalls, "mean_recall": float(np.mean(list(recalls.values()))), **chance}

    return Evaluator(run)


def top(scores_QxM, count):
    """Returns bool [Q, M], True at the `count` highest of each row; of equals, the first ones."""
    if count >= scores_QxM.shape[1]:
        return np.ones(scores_QxM.shape, bool)
    least_Qx1 = -np.partition(-scores_QxM, count - 1, axis=1)[:, count - 1, None]
    above_QxM, equal_QxM = scores_QxM > least_Qx1, scores_QxM == least_Qx1
    room_Qx1 = count - above_QxM.sum(axis=1, keepdims=True)
    return above_QxM | (equal_QxM & (np.cumsum(equal_QxM, axis=1) <= room_Qx1))


def put_first(itc_QxM, match_QxM, chosen_QxM):
    """Returns scores that order the chosen by `match`, and behind them the others by `itc`."""
    itc_QxM, match_QxM = itc_QxM.astype(np.float64), match_QxM.astype(np.float64)
    last_Qx1 = np.where(chosen_QxM, match_QxM, np.inf).min(axis=1, keepdims=True)
    behind_QxM = last_Qx1 - 1 - (itc_QxM.max(axis=1, keepdims=True) - itc_QxM)
    return np.where(chosen_QxM, match_QxM, behind_QxM)


def text_recalls(scores_IxT, picture_C, text_C):
    """Returns i2t_r1, i2t_r5, i2t_r10: pictures with a caption of their own among the first."""
    captions_T = np.bincount(text_C, minlength=scores_IxT.shape[1])
    by_picture = np.argsort(picture_C, kind="stable")
    bounds = np.searchsorted(picture_C[by_picture], np.arange(len(scores_IxT) + 1))
    places = []
    for i, scores_T in enumerate(scores_IxT):
        own = text_C[by_picture[bounds[i] : bounds[i + 1]]]
        best = scores_T[own].max()
        places.append(
            (
                captions_T[scores_T > best].sum(),
                captions_T[scores_T == best].sum(),
                (scores_T[own] == best).sum(),
            )
        )
    return _recalls("i2t", places)


def picture_recalls(scores_TxI, picture_C, text_C):
    """Returns t2i_r1, t2i_r5, t2i_r10: captions with their picture among the first."""
    places = []
    for i, t in zip(picture_C, text_C):
        best = scores_TxI[t, i]
        places.append(((scores_TxI[t] > best).sum(), (scores_TxI[t] == best).sum(), 1))
    return _recalls("t2i", places)


def _recalls(name, places):
    above_Q, equal_Q, own_Q = np.array(places).T
    return {f"{name}_r{k}": float(hits(above_Q, equal_Q, own_Q, k).mean()) for k in CUTS}


def hits(above_Q, equal_Q, own_Q, k):
    """Returns the probability [Q] that a right answer is among the first k, equals in any order.

    above: ranked before the best right answer. equal: with its very score, the right ones
    included. own: how many of these are right. So a scorer that gives one score to everything is
    at chance, not at the top.
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
                "rerank": Key(128, "candidates that the fusion encoder ranks again; 0: none", low=0)
            }
        }
    },
)
