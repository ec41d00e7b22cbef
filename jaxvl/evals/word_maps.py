"""Which image patches each word of a text refers to, for any number of pairs on the host.

Letters: G pairs of a batch, P pairs in all, I images, T texts, L text tokens, N image tokens (class
token first), M = N - 1 patches, D width.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.evals.feeding import outputs, padded_rows, put_rows
from jaxvl.ops.gradcam import merge_pieces, word_relevance
from jaxvl.sharding import replicated
from jaxvl.types import MATCH, Model, Params


def make_word_maps(
    config: ConfigDict, *, model: Model, mesh: Mesh, batch_size: int
) -> Callable[..., Iterator[tuple[np.ndarray, float]]]:
    """Returns `word_maps` of `jaxvl.evals.scoring.Scorer` for a model with a fusion encoder."""

    def step(params, batch):
        keys = model.image_keys(params, batch["tokens"])
        relevance_GxLxM, logits_Gx2 = word_relevance(
            model,
            params,
            keys,
            batch["states"],
            batch["mask"],
            layer=config.softmask.layer,
            score=config.softmask.score,
        )
        merged_GxLxM = merge_pieces(relevance_GxLxM, batch["words"])
        return merged_GxLxM, jax.nn.softmax(logits_Gx2)[:, MATCH]

    step = jax.jit(step, out_shardings=replicated(mesh))

    def word_maps(
        params: Params,
        images: ImageFeatures,
        texts: TextFeatures,
        tokens: Tokens,
        pairs_Px2: np.ndarray,
        *,
        progress: bool,
    ) -> Iterator[tuple[np.ndarray, float]]:
        assert images.tokens_IxNxD is not None and texts.states_TxLxD is not None
        tokens_IxNxD, states_TxLxD = images.tokens_IxNxD, texts.states_TxLxD
        words_TxL = tokens.words[:, : states_TxLxD.shape[1]]  # the rest is padding in all texts
        image_P, text_P = pairs_Px2.T
        rows = padded_rows(len(pairs_Px2), batch_size)
        inputs = (
            put_rows(
                {
                    "tokens": tokens_IxNxD[image_P[at]],
                    "states": states_TxLxD[text_P[at]],
                    "mask": texts.mask_TxL[text_P[at]],
                    "words": words_TxL[text_P[at]],
                },
                mesh,
            )
            for at in rows
        )
        done = 0
        for relevance_GxLxM, probability_G in outputs(
            step, params, inputs, len(rows), label="heat-maps", progress=progress
        ):
            kept = min(batch_size, len(pairs_Px2) - done)
            yield from zip(relevance_GxLxM[:kept], probability_G[:kept].tolist())
            done += kept

    return word_maps
