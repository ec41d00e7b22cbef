"""Accuracy on hard negatives: does the true caption score above the false one?

Letters: I images, T distinct texts, R rows (an image, a true and a false caption of it), P pairs.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals import false_match
from jaxvl.evals.examples import Examples, distinct
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.keys import Key
from jaxvl.types import MATCH, Evaluator, EvaluatorComponent


class Rows(NamedTuple):
    """Images with a true and a false caption each, and the kind of the false one.

    true, false: the captions. true_R, false_R: their places among the distinct texts.
    """

    true: Sequence[str]
    false: Sequence[str]
    image_R: np.ndarray
    true_R: np.ndarray
    false_R: np.ndarray
    kind_R: np.ndarray


def make(config: ConfigDict, *, scorer, examples: Examples) -> Evaluator:
    """Returns the Evaluator: share of rows with score(true) > score(false), a tie is a failure.

    `accuracy` and one value for each kind are by the match logit, `itc_accuracy` by cosine
    similarity. With evals.hard_negatives.match off, and for a model without a fusion encoder,
    `accuracy` is by cosine similarity and there is no other. `false_match_q1` ... `_q5`: share of
    failures by how similar the two captions are. `blind_accuracy`: the same model with the mean
    image embedding in place of the image's, which shows what the texts alone give away.
    """
    by_match = bool(scorer.match) and config.evals.hard_negatives.match
    rows, tokens = rows_of(examples)

    def findings(params, progress=False):
        count = len(examples.records)
        images = scorer.images(params, examples.images(), count=count, progress=progress)
        texts = scorer.texts(params, tokens, progress=progress)
        itc_2xR = cosines(images, texts, rows)
        blind_accuracy = accuracies(blind_cosines(images, texts, rows), rows.kind_R)["accuracy"]
        if not by_match:
            results, found = judged(itc_2xR, rows)
            return {**results, "blind_accuracy": blind_accuracy}, found
        match_2xR = score_pairs(scorer, params, images, texts, rows, progress=progress)
        results, found = judged(match_2xR, rows)
        itc_accuracy = accuracies(itc_2xR, rows.kind_R)["accuracy"]
        return {**results, "itc_accuracy": itc_accuracy, "blind_accuracy": blind_accuracy}, found

    return Evaluator(lambda params, progress=False: findings(params, progress)[0], findings)


def judged(scores_2xR: np.ndarray, rows: Rows) -> tuple[dict[str, float], false_match.Findings]:
    """Returns (accuracies and false-match rates, Findings)."""
    wrong_R = ~(scores_2xR[0] > scores_2xR[1])
    contrasts = false_match.Contrasts(rows.true, rows.false, rows.kind_R, wrong_R)
    results = {**accuracies(scores_2xR, rows.kind_R), **false_match.by_quintile(contrasts)}
    return results, false_match.Findings(contrasts, {})


def rows_of(examples: Examples) -> tuple[Rows, Tokens]:
    """Returns (Rows, Tokens of the distinct texts that they refer to).

    An image has one row of each kind, the first: many rows of a kind would be nearly the same.
    """
    image, true, false, kind = [], [], [], []
    for i, record in enumerate(examples.records):
        seen = set()
        for negative, name, caption in zip(
            record["negatives"], record["negative_kinds"], record["negative_captions"], strict=True
        ):
            if name in seen:
                continue
            seen.add(name)
            image.append(i)
            true.append(record["captions"][caption])
            false.append(negative)
            kind.append(name)
    tokens, place = distinct(examples.tokenize(true + false))
    true_R, false_R = place.reshape(2, -1)
    return Rows(true, false, np.array(image), true_R, false_R, np.array(kind)), tokens


def cosines(images: ImageFeatures, texts: TextFeatures, rows: Rows) -> np.ndarray:
    """Returns float32 [2, R]: the images' cosine similarity to the true and the false captions."""
    zi_RxE = images.embeddings_IxE[rows.image_R]
    # One product a row, summed in one order: equal texts have equal scores.
    return np.stack(
        [(zi_RxE * texts.embeddings_TxE[t_R]).sum(axis=1) for t_R in (rows.true_R, rows.false_R)]
    )


def blind_cosines(images: ImageFeatures, texts: TextFeatures, rows: Rows) -> np.ndarray:
    """Returns float32 [2, R]: product of the mean image embedding with those of the captions."""
    mean_E = images.embeddings_IxE.mean(axis=0)
    blind_T = (texts.embeddings_TxE * mean_E[None]).sum(axis=1)
    return np.stack([blind_T[rows.true_R], blind_T[rows.false_R]])


def score_pairs(
    scorer, params, images: ImageFeatures, texts: TextFeatures, rows: Rows, *, progress: bool
) -> np.ndarray:
    """Returns float32 [2, R]: match logits of true and false captions, each pair scored once."""
    pairs_2Rx2 = np.stack(
        [np.tile(rows.image_R, 2), np.concatenate([rows.true_R, rows.false_R])], axis=1
    )
    pairs_Px2, place = np.unique(pairs_2Rx2, axis=0, return_inverse=True)
    logits_Px2 = scorer.match(params, images, texts, pairs_Px2, progress=progress)
    return logits_Px2[place.reshape(2, -1), MATCH]


def accuracies(scores_2xR: np.ndarray, kind_R: np.ndarray) -> dict[str, float]:
    """Returns {"accuracy": share of rows, and the same for each kind}; a tie is a failure."""
    right_R = scores_2xR[0] > scores_2xR[1]
    by_kind = {str(kind): float(right_R[kind_R == kind].mean()) for kind in np.unique(kind_R)}
    return {"accuracy": float(right_R.mean()), **by_kind}


def _missing(records: Sequence[Mapping], scorer) -> str:
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
