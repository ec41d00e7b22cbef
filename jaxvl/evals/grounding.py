"""Grounding: does a word's heat-map lie on the object that the word names?

Pointing game: the peak of the heat-map lies in the object's box. Energy: the share of the heat-map
inside the box. Both come with their chance level, the mean over the same words for a patch drawn at
random and for an even map.
Letters: P pairs of an image and a caption, L text tokens, M patches.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals.examples import Examples
from jaxvl.types import Evaluator, EvaluatorComponent

Box = Sequence[float]  # ymin, xmin, ymax, xmax in [0, 1]


class Mentions(NamedTuple):
    """Captions that name objects with boxes: their images, Tokens and words.

    words_P: (token, box) of each word that names an object. truncated: how many more such words
    the model does not read, the caption being too long.
    """

    image_P: np.ndarray
    tokens: Tokens
    words_P: list[list[tuple[int, Box]]]
    truncated: int


def make(config: ConfigDict, *, scorer, examples: Examples) -> Evaluator:
    """Returns the Evaluator: pointing, energy and their chance levels over all such words."""
    del config
    mentions = mentions_of(examples)

    def run(params, progress=False):
        count = len(examples.records)
        images = scorer.images(
            params, examples.images(), count=count, progress=progress, tokens=True
        )
        texts = scorer.texts(params, mentions.tokens, progress=progress)
        pairs_Px2 = np.stack([mentions.image_P, np.arange(len(mentions.image_P))], axis=1)
        found = scorer.word_maps(
            params, images, texts, mentions.tokens, pairs_Px2, progress=progress
        )
        rows = [
            judge(relevance_LxM[token], box)
            for (relevance_LxM, _), words in zip(found, mentions.words_P, strict=True)
            for token, box in words
        ]
        names = ("pointing", "pointing_chance", "energy", "energy_chance")
        means = dict(zip(names, np.mean(rows, axis=0).tolist()))
        return {**means, "words": len(rows), "words_truncated": mentions.truncated}

    return Evaluator(run)


def mentions_of(examples: Examples) -> Mentions:
    """Returns the Mentions of the records. A word's token is its first one."""
    images, captions, named = [], [], []
    for i, record in enumerate(examples.records):
        rows_Wx3 = np.reshape(record["mentions"], (-1, 3))  # caption, word, object
        for caption in np.unique(rows_Wx3[:, 0]):
            images.append(i)
            captions.append(record["captions"][caption])
            named.append([(w, record["boxes"][o]) for c, w, o in rows_Wx3.tolist() if c == caption])
    tokens = examples.tokenize(captions)
    words_P = [
        [(int(np.argmax(words_L == word)), box) for word, box in words if (words_L == word).any()]
        for words_L, words in zip(tokens.words, named)
    ]
    truncated = sum(map(len, named)) - sum(map(len, words_P))
    return Mentions(np.array(images), tokens, words_P, truncated)


def judge(relevance_M: np.ndarray, box: Box) -> tuple[float, float, float, float]:
    """Returns (pointing, its chance, energy, its chance) of one word.

    Of equal peaks the mean counts. A map without any relevance is a miss.
    """
    inside_M, covered_M = inside(box, len(relevance_M))
    total = relevance_M.sum()
    if not total > 0:
        return 0.0, inside_M.mean(), 0.0, covered_M.mean()
    pointing = inside_M[relevance_M == relevance_M.max()].mean()
    energy = (relevance_M * covered_M).sum() / total
    return pointing, inside_M.mean(), energy, covered_M.mean()


def inside(box: Box, patches: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (whether each patch's centre is in the box, share of its area in it), both [M]."""
    side = round(patches**0.5)
    edges = np.arange(side + 1) / side
    y0, x0, y1, x1 = box

    def along(low, high):
        centre = (edges[:-1] + edges[1:]) / 2
        overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
        return (low <= centre) & (centre <= high), np.maximum(overlap, 0) * side

    (in_y, share_y), (in_x, share_x) = along(y0, y1), along(x0, x1)
    return np.outer(in_y, in_x).reshape(-1), np.outer(share_y, share_x).reshape(-1)


def _missing(records: Sequence[Mapping], scorer) -> str:
    if not any(len(record["mentions"]) for record in records):
        return "has no mentions"
    if scorer.word_maps is None:
        return "is evaluated with a model whose words cannot be explained"
    return ""


GROUNDING = EvaluatorComponent(
    make,
    keys={"evals": {"grounding": {}}},
    missing=_missing,
)
