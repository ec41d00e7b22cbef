"""Grounding: does a word look at the object it means?

Pointing game: the peak of the word's heat-map lies in the object's box. Energy: the share of the
heat-map inside the box. Beside each its chance level, the mean over the same words of a patch drawn
at random, or of an even map.
Letters: W words with a known box, P pairs of a picture and a caption, N patches.
"""

from typing import NamedTuple

import numpy as np

from jaxvl.types import Evaluator, EvaluatorComponent


class Mentions(NamedTuple):
    """Captions that name objects: the picture of each, its Tokens, its words (token, box)."""

    picture_P: np.ndarray
    texts: object
    words_P: list
    cut: int  # words that the model does not see, the caption being too long


def make(config, *, scorer, examples):
    """Returns the Evaluator, over all captions that name objects with boxes."""
    del config
    mentions = mentions_of(examples)

    def run(params, progress=False):
        count = len(examples.records)
        pictures = scorer.pictures(params, examples.pictures(), count=count, progress=progress)
        found = scorer.word_maps(
            params, pictures, mentions.picture_P, mentions.texts, progress=progress
        )
        rows = [
            judge(relevance_LxN[token], box)
            for (relevance_LxN, _), words in zip(found, mentions.words_P, strict=True)
            for token, box in words
        ]
        names = ("pointing", "pointing_chance", "energy", "energy_chance")
        means = dict(zip(names, np.mean(rows, axis=0).tolist()))
        return {**means, "words": len(rows), "words_cut": mentions.cut}

    return Evaluator(run)


def mentions_of(examples):
    """Returns the Mentions of the records. A word's token is its first piece."""
    pictures, captions, named = [], [], []
    for i, record in enumerate(examples.records):
        rows_Mx3 = np.reshape(record["mentions"], (-1, 3))
        for caption in np.unique(rows_Mx3[:, 0]):
            pictures.append(i)
            captions.append(record["captions"][caption])
            named.append([(w, record["boxes"][o]) for c, w, o in rows_Mx3.tolist() if c == caption])
    texts = examples.tokenize(captions)
    words_P = [
        [(int(np.argmax(words_L == word)), box) for word, box in words if (words_L == word).any()]
        for words_L, words in zip(texts.words, named)
    ]
    cut = sum(map(len, named)) - sum(map(len, words_P))
    return Mentions(np.array(pictures), texts, words_P, cut)


def judge(relevance_N, box):
    """Returns (pointing, its chance, energy, its chance) of one word.

    box: ymin, xmin, ymax, xmax in [0, 1]. Of equal peaks the mean counts; a map without any
    relevance points nowhere.
    """
    inside_N, covered_N = inside(box, len(relevance_N))
    total = relevance_N.sum()
    if not total > 0:
        return 0.0, inside_N.mean(), 0.0, covered_N.mean()
    pointing = inside_N[relevance_N == relevance_N.max()].mean()
    energy = (relevance_N * covered_N).sum() / total
    return pointing, inside_N.mean(), energy, covered_N.mean()


def inside(box, patches):
    """Returns (whether each patch's centre is in the box, share of its area in it), both [N]."""
    side = round(patches**0.5)
    edges = np.arange(side + 1) / side
    y0, x0, y1, x1 = box

    def along(low, high):
        centre = (edges[:-1] + edges[1:]) / 2
        overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
        return (low <= centre) & (centre <= high), np.maximum(overlap, 0) * side

    (in_y, share_y), (in_x, share_x) = along(y0, y1), along(x0, x1)
    return np.outer(in_y, in_x).reshape(-1), np.outer(share_y, share_x).reshape(-1)


def _missing(records, scorer):
    if not any(len(record["mentions"]) for record in records):
        return "has no mentions"
    if scorer.word_maps is None:
        return "is evaluated with a model that has no fusion encoder"
    return ""


GROUNDING = EvaluatorComponent(
    make,
    keys={"evals": {"grounding": {}}},
    missing=_missing,
)
