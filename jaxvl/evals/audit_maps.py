"""Runs a model for the audit of its heat-maps: maps, and scores of images with parts covered.

Letters: I images, K occurrences of a word in a caption, P pairs, M patches, L text tokens, k of the
patches.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals import covering, map_measures
from jaxvl.evals.examples import Examples
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.evals.feeding import image_batches, whole_images
from jaxvl.evals.grounding import Box
from jaxvl.evals.map_measures import Effects, Occurrences
from jaxvl.types import MATCH, Params

RANDOM = 11  # stream of random draws


class Chosen(NamedTuple):
    """The occurrences that are judged.

    tokens: Tokens of the captions, one of each image. without: Tokens of each occurrence's caption
    without its word. spelt: the words. token_K: the first token of the word.
    """

    tokens: Tokens
    without: Tokens
    spelt: list[str]
    image_K: np.ndarray
    token_K: np.ndarray
    boxes: list[Box | None]


class Run(NamedTuple):
    """A model with its parameters, and what it is run on."""

    config: ConfigDict
    scorer: Any
    examples: Examples
    chosen: Chosen
    params: Params
    progress: bool


def occurrences(run: Run, *, share: float) -> Occurrences:
    """Returns the Occurrences of a model, and of the same with its weights shuffled.

    share: of the patches, to cover.
    """
    pixels, seed = whole_images(run.examples.images(), len(run.examples.records)), run.config.seed
    own_KxM, others_KxM, effects = _looked_at(run, pixels, share)
    mixed = run._replace(params=shuffled(run.params, seed=seed))
    mixed_KxM, _, mixed_effects = _looked_at(mixed, pixels, share)
    spelt, boxes = run.chosen.spelt, run.chosen.boxes
    return Occurrences(spelt, own_KxM, others_KxM, effects, mixed_KxM, mixed_effects, boxes)


def _looked_at(run, pixels, share):
    map_KxM, others_KxM = maps(run)
    rng = np.random.default_rng((run.config.seed, RANDOM))
    # Patches of equal relevance are taken in a random order.
    random_KxM = rng.permuted(np.tile(np.arange(map_KxM.shape[1]), (len(map_KxM), 1)), axis=1)
    ranked_KxM = np.argsort(-np.take_along_axis(map_KxM, random_KxM, axis=1), axis=1, kind="stable")
    best_KxM = np.take_along_axis(random_KxM, ranked_KxM, axis=1)
    count = max(1, round(share * map_KxM.shape[1]))
    # Other random patches than those that order equals, or an even map would have no effect.
    other_KxM = rng.permuted(random_KxM, axis=1)
    return map_KxM, others_KxM, covered(run, pixels, (best_KxM, other_KxM), count=count)


def shuffled(params: Params, *, seed: int) -> Params:
    """Returns the parameters with the entries of each array in a random order."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))

    def shuffle(key, leaf):
        mixed = jax.random.permutation(key, leaf.reshape(-1)).reshape(leaf.shape)
        return jax.device_put(mixed, leaf.sharding)

    return structure.unflatten([shuffle(key, leaf) for key, leaf in zip(keys, leaves)])


def maps(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns (the map of each occurrence, the mean map of its caption's other words), [K, M]."""
    _, scorer, examples, chosen, params, progress = run
    count = len(examples.records)
    images = scorer.images(params, examples.images(), count=count, progress=progress, tokens=True)
    texts = scorer.texts(params, chosen.tokens, progress=progress)
    pairs_Ix2 = np.stack([np.arange(count)] * 2, axis=1)
    found = scorer.word_maps(params, images, texts, chosen.tokens, pairs_Ix2, progress=progress)
    relevance = [relevance_LxM for relevance_LxM, _ in found]
    own, others = [], []
    for image, token in zip(chosen.image_K, chosen.token_K):
        words_L = chosen.tokens.words[image][: len(relevance[image])]
        first = np.unique(words_L, return_index=True)[1]
        other = [t for t in first if words_L[t] >= 0 and words_L[t] != words_L[token]]
        map_LxM = map_measures.with_sum_1(relevance[image].astype(np.float64))
        own.append(map_LxM[token])
        others.append(map_LxM[other].mean(axis=0) if other else np.full(len(own[-1]), np.nan))
    return np.array(own), np.array(others)


def covered(
    run: Run, pixels: Sequence[np.ndarray], orders: Sequence[np.ndarray], *, count: int
) -> Effects:
    """Returns the Effects of covering the first `count` patches of each of two orders [K, M].

    What a word adds to the score is s(image, text) - s(image, text without the word). s is the
    match logit less that of no match, or the cosine. pixels: of the images.
    """
    _, scorer, _, chosen, params, progress = run
    whole = scorer.texts(params, chosen.tokens, progress=progress)
    shorter = scorer.texts(params, chosen.without, progress=progress)

    def scores(covered_Kxk):
        images = _encoded(run, pixels, covered_Kxk)
        with_word_K = _scores(run, images, whole, chosen.image_K)
        return with_word_K, with_word_K - _scores(run, images, shorter, np.arange(len(with_word_K)))

    uncovered = scores(None)
    others = [scores(order_KxM[:, :count]) for order_KxM in orders]
    falls = [[before - after for before, after in zip(uncovered, other)] for other in others]
    return Effects(*(np.stack(parts, axis=1) for parts in zip(*falls)))


def _encoded(run, pixels, covered_Kxk):
    """Returns the ImageFeatures of each occurrence's image with these patches in grey."""
    config, scorer, _, chosen, params, progress = run
    size = config.data.image_size
    patches = (size // config.model.image.patch_size) ** 2

    def one(occurrence):
        image = pixels[chosen.image_K[occurrence]]
        if covered_Kxk is None:
            return image
        covered = covering.patch_pixels(covered_Kxk[occurrence], patches, size)
        return np.where(covered[..., None], covering.GREY, image)

    count = len(chosen.spelt)
    batches = image_batches(one, count, config.data, batch_size=config.eval.batch_size)
    return scorer.images(params, batches, count=count, progress=progress)


def _scores(run, images: ImageFeatures, texts: TextFeatures, text_K: np.ndarray) -> np.ndarray:
    """Returns [K]: the score of image k with text text_K[k]."""
    if run.scorer.match is None:
        return (images.embeddings_IxE * texts.embeddings_TxE[text_K]).sum(axis=1)
    pairs_Px2 = np.stack([np.arange(len(text_K)), text_K], axis=1)
    logits_Px2 = run.scorer.match(run.params, images, texts, pairs_Px2, progress=run.progress)
    return logits_Px2[:, MATCH] - logits_Px2[:, 1 - MATCH]
