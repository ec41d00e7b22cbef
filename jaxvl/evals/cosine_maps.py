"""Which image patches each word of a text refers to, in a model without a fusion encoder.

Letters: G pairs of a batch, P pairs in all, I images, T texts, W words of a text, R texts without
one of their words, L text tokens, N image tokens (class token first), M = N - 1 patches, D width,
E embedding.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.evals.feeding import outputs, padded_rows, put_rows
from jaxvl.ops.gradcam import relevance_to_directions
from jaxvl.sharding import replicated
from jaxvl.types import Model, Params


def make_cosine_maps(
    *, model: Model, texts: Callable[..., TextFeatures], mesh: Mesh, batch_size: int
) -> Callable[..., Iterator[tuple[np.ndarray, float]]]:
    """Returns `word_maps` of `jaxvl.evals.scoring.Scorer` for a model that has `look`.

    A word's direction is the change of the text's embedding when the word is left out, and its
    relevance is that of `relevance_to_directions`. texts: of the same Scorer.
    """

    def step(params, batch):
        return relevance_to_directions(model, params, batch["tokens"], batch["directions"])

    step = jax.jit(step, out_shardings=replicated(mesh))

    def word_maps(
        params: Params,
        images: ImageFeatures,
        found: TextFeatures,
        tokens: Tokens,
        pairs_Px2: np.ndarray,
        *,
        progress: bool,
    ) -> Iterator[tuple[np.ndarray, float]]:
        assert images.tokens_IxNxD is not None
        directions_TxWxE = _directions(params, texts, found, tokens, progress=progress)
        image_P, text_P = pairs_Px2.T
        cosine_P = (images.embeddings_IxE[image_P] * found.embeddings_TxE[text_P]).sum(axis=1)
        rows = padded_rows(len(pairs_Px2), batch_size)
        inputs = (
            put_rows(
                {
                    "tokens": images.tokens_IxNxD[image_P[at]],
                    "directions": directions_TxWxE[text_P[at]],
                },
                mesh,
            )
            for at in rows
        )
        done = 0
        for relevance_GxWxM in outputs(
            step, params, inputs, len(rows), label="heat-maps", progress=progress
        ):
            kept = min(batch_size, len(pairs_Px2) - done)
            for relevance_WxM, pair in zip(relevance_GxWxM[:kept], range(done, done + kept)):
                yield _of_tokens(relevance_WxM, tokens.words[text_P[pair]]), float(cosine_P[pair])
            done += kept

    return word_maps


def _directions(params, texts, found, tokens, *, progress):
    """Returns float32 [T, W, E]: the embedding of each text less that without the word."""
    without, text_R, word_R = without_each_word(tokens)
    z_RxE = texts(params, without, progress=progress).embeddings_TxE
    whole_TxE = found.embeddings_TxE
    longest = -(-int(word_R.max() + 1) // 8) * 8  # few lengths, so that few are compiled
    directions_TxWxE = np.zeros((len(whole_TxE), longest, whole_TxE.shape[1]), np.float32)
    directions_TxWxE[text_R, word_R] = whole_TxE[text_R] - z_RxE
    return directions_TxWxE


def without_each_word(tokens: Tokens) -> tuple[Tokens, np.ndarray, np.ndarray]:
    """Returns (Tokens of R texts, text_R, word_R): each text without each of its words in turn.

    What follows a word moves into its place. The places that become free repeat the last token,
    which ends the text, and count as padding.
    """
    text_R, word_R = [], []
    for text, words_L in enumerate(tokens.words):
        words = np.unique(words_L[words_L >= 0])
        text_R += [text] * len(words)
        word_R += words.tolist()
    text_R, word_R = np.array(text_R, int), np.array(word_R, int)
    ids_RxL, mask_RxL, words_RxL = (field[text_R] for field in tokens)
    stays_RxL = mask_RxL & (words_RxL != word_R[:, None])
    order_RxL = np.argsort(~stays_RxL, axis=1, kind="stable")
    ids_RxL, words_RxL = (
        np.take_along_axis(field, order_RxL, axis=1) for field in (ids_RxL, words_RxL)
    )
    count_R = stays_RxL.sum(axis=1)
    mask_RxL = np.arange(ids_RxL.shape[1]) < count_R[:, None]
    last_R = ids_RxL[np.arange(len(ids_RxL)), count_R - 1]
    ids_RxL = np.where(mask_RxL, ids_RxL, last_R[:, None])
    return Tokens(ids_RxL, mask_RxL, np.where(mask_RxL, words_RxL, -1)), text_R, word_R


def _of_tokens(relevance_WxM, words_L):
    """Returns [L, M]: the relevance of each token's word, zeros where it has none."""
    of_word_LxM = relevance_WxM[np.maximum(words_L, 0)]
    return np.where(words_L[:, None] >= 0, of_word_LxM, 0)
