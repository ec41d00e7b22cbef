"""Parts of images covered with grey: random patches, the object of a word, its heat-map's patches.

The grey is the mean colour of the model's normalisation, which the model reads as about 0. Every
draw follows from the seed and the image's number alone.

Letters: I images, J some of them, C captions of an image, P pairs of an image and a caption,
M patches, S side of an image in pixels, L text tokens.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals.examples import Examples, distinct
from jaxvl.evals.grounding import Box, inside
from jaxvl.preprocessing import PIXEL_MEAN

GREY = np.round(255 * np.array(PIXEL_MEAN)).astype(np.uint8)
PATCHES, WORDS, ELSEWHERE, WRONG = range(4)  # streams of random draws

Cover = Callable[[int], np.ndarray]  # (number of the image) -> bool [S, S], True at covered pixels


class Drawn(NamedTuple):
    """A caption of each image, and one word of it that names an object.

    tokens: Tokens of the captions. text_I: their places among the distinct texts. own: those of all
    captions of each image. token_I: the first token of the word, -1 where no caption names an
    object. boxes: {image: box of the object}.
    """

    tokens: Tokens
    text_I: np.ndarray
    own: list[set[int]]
    token_I: np.ndarray
    boxes: dict[int, Box]


def _rng(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.default_rng((seed, stream, number))


def draw(examples: Examples, *, seed: int) -> Drawn:
    """Returns Drawn. Where captions name objects, a word that names one decides the caption.

    Words that the model does not read, their caption being too long, are not drawn.
    """
    tokens = examples.tokenize([text for one in examples.records for text in one["captions"]])
    _, text_C = distinct(tokens)
    own, place_I, token_I, boxes = [], [], [], {}
    start = 0
    for i, record in enumerate(examples.records):
        end, rng = start + len(record["captions"]), _rng(seed, WORDS, i)
        words = _words_that_name(record, tokens.words[start:end])
        caption, token = rng.integers(end - start), -1
        if words:
            caption, token, boxes[i] = words[rng.integers(len(words))]
        own.append(set(text_C[start:end].tolist()))
        place_I.append(start + caption)
        token_I.append(token)
        start = end
    chosen = Tokens(*(field[place_I] for field in tokens))
    return Drawn(chosen, text_C[place_I], own, np.array(token_I), boxes)


def _words_that_name(record, words_CxL):
    """Returns (caption, token, box) of each word of a record that names an object and is read."""
    rows = np.reshape(record["mentions"], (-1, 3)).tolist()
    return [
        (caption, int(np.argmax(words_CxL[caption] == word)), record["boxes"][thing])
        for caption, word, thing in rows
        if (words_CxL[caption] == word).any()
    ]


def wrong_captions(drawn: Drawn, rows_J: np.ndarray, *, seed: int) -> np.ndarray:
    """Returns int [P, 2], rows (image, image whose drawn caption is false of it), places in rows_J.

    The images stand in a drawn circle and each takes the caption of the next one, so no caption
    comes twice. An image whose own captions read like that one is left out.
    """
    order = _rng(seed, WRONG, 0).permutation(len(rows_J))
    pairs_Jx2 = np.stack([order, np.roll(order, -1)], axis=1)
    image_Jx2 = rows_J[pairs_Jx2].tolist()
    kept = [drawn.text_I[other] not in drawn.own[image] for image, other in image_Jx2]
    return pairs_Jx2[np.array(kept, bool)]


def patch_order(seed: int, image: int, patches: int) -> np.ndarray:
    """Returns int [M], the order in which an image's patches are covered: shares are nested."""
    return _rng(seed, PATCHES, image).permutation(patches)


def covered(batches: Iterable[Mapping[str, Any]], cover: Cover) -> Iterator[dict[str, Any]]:
    """Yields the batches of images with the pixels that `cover` names in GREY."""
    for batch in batches:
        image = batch["image"].copy()
        for row, index in enumerate(batch["index"].tolist()):
            image[row, cover(index)] = GREY
        yield {**batch, "image": image}


def random_patches(config: ConfigDict, share: float) -> Cover:
    """Returns the Cover of a random share of each image's patches."""
    size = config.data.image_size
    patches = (size // config.model.image.patch_size) ** 2

    def cover(index):
        order = patch_order(config.seed, index, patches)
        return patch_pixels(order[: round(share * patches)], patches, size)

    return cover


def patch_pixels(chosen: Sequence[int] | np.ndarray, patches: int, size: int) -> np.ndarray:
    """Returns bool [S, S], True at the pixels of the chosen ones of M patches."""
    side = round(patches**0.5)
    mask_M = np.zeros(patches, bool)
    mask_M[np.asarray(chosen, int)] = True
    return mask_M.reshape(side, side).repeat(size // side, axis=0).repeat(size // side, axis=1)


def objects(config: ConfigDict, drawn: Drawn) -> Cover:
    """Returns the Cover of the boxes of the drawn words. Images without one stay whole."""
    return _boxes(config, drawn, lambda index, at: at)


def elsewhere(config: ConfigDict, drawn: Drawn) -> Cover:
    """Returns the Cover of a box as large as the word's, which it overlaps as little as can be."""
    size = config.data.image_size

    def moved(index, at):
        overlap = np.outer(*(_overlaps(one, size) for one in at))
        free = np.argwhere(overlap == overlap.min())
        place = free[_rng(config.seed, ELSEWHERE, index).integers(len(free))].tolist()
        return tuple(slice(k, k + one.stop - one.start) for k, one in zip(place, at))

    return _boxes(config, drawn, moved)


def _overlaps(at: slice, size: int) -> np.ndarray:
    """Returns how many pixels a range as long as `at` shares with it, for each place of it."""
    length = at.stop - at.start
    first = np.arange(size - length + 1)
    return np.maximum(np.minimum(first + length, at.stop) - np.maximum(first, at.start), 0)


def _boxes(config, drawn, place):
    size = config.data.image_size

    def cover(index):
        mask = np.zeros((size, size), bool)
        if index in drawn.boxes:
            mask[place(index, box_pixels(drawn.boxes[index], size))] = True
        return mask

    return cover


def box_pixels(box: Box, size: int) -> tuple[slice, slice]:
    """Returns (rows, columns) of the pixels that a box touches, at least one of each."""
    y0, x0, y1, x1 = (float(edge) * size for edge in box)

    def along(low, high):
        first = min(int(low), size - 1)
        return slice(first, max(first + 1, math.ceil(high)))

    return along(y0, y1), along(x0, x1)


def heatmap_patches(
    config: ConfigDict, drawn: Drawn, relevance_of: Mapping[int, np.ndarray]
) -> Cover:
    """Returns the Cover of the patches where the heat-map of the drawn word is highest.

    They have the area of the word's box, rounded to at least one patch; of equals the first in
    `patch_order` are taken. Images without a word stay whole.
    relevance_of: {image: float [M], the heat-map}.
    """
    size = config.data.image_size

    def cover(index):
        if index not in relevance_of:
            return np.zeros((size, size), bool)
        relevance_M = relevance_of[index]
        patches = len(relevance_M)
        count = max(1, round(float(inside(drawn.boxes[index], patches)[1].sum())))
        order = patch_order(config.seed, index, patches)
        best = order[np.argsort(-relevance_M[order], kind="stable")]
        return patch_pixels(best[:count], patches, size)

    return cover
