"""Accuracy on hard negatives: does the true caption score above its false neighbour?

Letters: I pictures, T distinct texts, R rows (a picture, a caption, what contradicts it).
"""

from typing import NamedTuple

import numpy as np

from jaxvl.evals import false_match
from jaxvl.evals.examples import distinct
from jaxvl.keys import Key
from jaxvl.types import Evaluator, EvaluatorComponent


class Rows(NamedTuple):
    """A picture, a true and a false text of it, and how the false one was made.

    true, false: the texts; true_R, false_R: their places among the distinct ones.
    """

    true: list
    false: list
    picture_R: np.ndarray
    true_R: np.ndarray
    false_R: np.ndarray
    kind_R: np.ndarray


def make(config, *, scorer, examples):
    """Returns the Evaluator: share of rows with score(true) > score(false), strictly.

    `accuracy` and one value a kind by the match logit, `itc_accuracy` by cosine similarity; with
    evals.hard_negatives.match off, and for a model without fusion, `accuracy` is of the cosine and
    there is no other. `false_match_q1` ... `_q5`: share
    of failures by how alike the two texts are. `blind_accuracy`: the same model by its cosine with
    the mean of all pictures: what the texts alone give away.
    """
    by_match = bool(scorer.match) and config.evals.hard_negatives.match
    rows, tokens = rows_of(examples)

    def findings(params, progress=False):
        count = len(examples.records)
        pictures = scorer.pictures(params, examples.pictures(), count=count, progress=progress)
        texts = scorer.texts(params, tokens, progress=progress)
        itc_2xR = cosines(pictures, texts, rows)
        blind_accuracy = accuracies(blind_cosines(pictures, texts, rows), rows.kind_R)["accuracy"]
        if not by_match:
            results, found = judged(itc_2xR, rows)
            return {**results, "blind_accuracy": blind_accuracy}, found
        match_2xR = score_pairs(scorer, params, pictures, texts, rows, progress=progress)
        results, found = judged(match_2xR, rows)
        itc_accuracy = accuracies(itc_2xR, rows.kind_R)["accuracy"]
        return {**results, "itc_accuracy": itc_accuracy, "blind_accuracy": blind_accuracy}, found

    return Evaluator(lambda params, progress=False: findings(params, progress)[0], findings)


def judged(scores_2xR, rows):
    """Returns (accuracies and false-match rates, false_match.Findings)."""
    wrong_R = ~(scores_2xR[0] > scores_2xR[1])
    contrasts = false_match.Contrasts(rows.true, rows.false, rows.kind_R, wrong_R)
    results = {**accuracies(scores_2xR, rows.kind_R), **false_match.by_quintile(contrasts)}
    return results, false_match.Findings(contrasts, {})


def rows_of(examples):
    """Returns (Rows, Tokens of the distinct texts that they refer to).

    A picture has one row of each kind, the first: many rows of a kind would be nearly the same.
    """
    picture, true, false, kind = [], [], [], []
    for i, record in enumerate(examples.records):
        seen = set()
        for negative, name, caption in zip(
            record["negatives"], record["negative_kinds"], record["negative_captions"], strict=True
        ):
            if name in seen:
                continue
            seen.add(name)
            picture.append(i)
            true.append(record["captions"][caption])
            false.append(negative)
            kind.append(name)
    tokens, place = distinct(examples.tokenize(true + false))
    true_R, false_R = place.reshape(2, -1)
    return Rows(true, false, np.array(picture), true_R, false_R, np.array(kind)), tokens


def cosines(pictures, texts, rows):
    """Returns float32 [2, R]: the pictures' cosine similarity to the true and the false texts."""
    zi_RxE = pictures.embeddings_IxE[rows.picture_R]
    # One product a row, summed in one order: equal texts have equal scores.
    return np.stack(
        [(zi_RxE * texts.embeddings_TxE[t_R]).sum(axis=1) for t_R in (rows.true_R, rows.false_R)]
    )


def blind_cosines(pictures, texts, rows):
    """Returns float32 [2, R]: the mean picture's similarity to the true and the false texts."""
    mean_E = pictures.embeddings_IxE.mean(axis=0)
    blind_T = (texts.embeddings_TxE * mean_E[None]).sum(axis=1)
    return np.stack([blind_T[rows.true_R], blind_T[rows.false_R]])


def score_pairs(scorer, params, pictures, texts, rows, *, progress):
    """Returns float32 [2, R]: match logits of true and false texts, each pair scored once."""
    pairs_2Rx2 = np.stack(
        [np.tile(rows.picture_R, 2), np.concatenate([rows.true_R, rows.false_R])], axis=1
    )
    pairs_Px2, place = np.unique(pairs_2Rx2, axis=0, return_inverse=True)
    logits_P = scorer.match(params, pictures, texts, pairs_Px2, progress=progress)
    return logits_P[place.reshape(2, -1)]


def accuracies(scores_2xR, kind_R):
    """Returns {"accuracy": share of rows, and the same for each kind}; a tie is a failure."""
    right_R = scores_2xR[0] > scores_2xR[1]
    by_kind = {str(kind): float(right_R[kind_R == kind].mean()) for kind in np.unique(kind_R)}
    return {"accuracy": float(right_R.mean()), **by_kind}


def _missing(records, scorer):
    return "" if any(len(record["negatives"]) for record in records) else "has no negatives"


HARD_NEGATIVES = EvaluatorComponent(
    make,
    keys={
        "evals": {
            "hard_negatives": {
                "match": Key(
                    True, "decide by the match logit where there is one; False: by similarity"
                )
            }
        }
    },
    missing=_missing,
)
