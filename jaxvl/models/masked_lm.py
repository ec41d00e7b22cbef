"""BERT and RoBERTa as masked language models (Devlin et al. 2019; Liu et al. 2019), without images.

All their layers are text layers, in one stack.
Letters: G batch, L text tokens, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvl.models.bert import Embeddings, TextLayer, WordHead
from jaxvl.models.layers import Numerics, apply, init_params, init_stack, run_stack
from jaxvl.ops.rng import stream
from jaxvl.types import Params


class Sizes(NamedTuple):
    """The sizes of a masked language model."""

    layers: int
    width: int
    heads: int
    mlp_width: int
    vocabulary_size: int
    positions: int
    token_types: int
    norm_epsilon: float
    first_position: int  # number of the first token's position: 0 in BERT, 2 in RoBERTa


class MaskedLm(NamedTuple):
    """A masked language model; its parameters are under text/ and word_head/, as in ALBEF."""

    init: Callable[[jax.Array], Params]  # (key) -> params
    # (params, ids_GxL, mask_GxL) -> t_GxLxD; the mask is False at the padding, which comes last
    encode: Callable[[Params, jax.Array, jax.Array], jax.Array]
    word_logits: Callable[[Params, jax.Array], jax.Array]  # (params, t_GxLxD) -> [G, L, V]


def make(sizes: Sizes) -> MaskedLm:
    """Returns the MaskedLm of these sizes, in float32 and without dropout."""
    numerics = Numerics("float32", "float32")
    embeddings = Embeddings(
        sizes.vocabulary_size,
        sizes.positions,
        sizes.token_types,
        sizes.width,
        0.0,
        numerics,
        sizes.norm_epsilon,
        sizes.first_position,
    )
    layer = TextLayer(sizes.heads, sizes.mlp_width, 0.0, numerics, sizes.norm_epsilon)
    head = WordHead(sizes.vocabulary_size, sizes.width, numerics, sizes.norm_epsilon)

    def init(key):
        t, mask = jnp.zeros((1, 2, sizes.width)), jnp.ones((1, 2), bool)
        ids, word = jnp.zeros((1, 2), jnp.int32), jnp.zeros((sizes.vocabulary_size, sizes.width))
        layers = init_stack(
            lambda k: init_params(layer, k, t, mask, None), stream(key, "text"), sizes.layers
        )
        embedding = init_params(embeddings, stream(key, "embedding"), ids, None)
        return {
            "text": {"embedding": embedding, "layers": layers},
            "word_head": init_params(head, stream(key, "word_head"), t, word),
        }

    def encode(params, ids_GxL, mask_GxL):
        t = apply(embeddings, params["text"]["embedding"], ids_GxL, None)

        def one(p, t, _key, _extra):
            return apply(layer, p, t, mask_GxL, None)

        return run_stack(one, params["text"]["layers"], t, key=None, scan=True, remat=False)

    def word_logits(params, t_GxLxD):
        word = params["text"]["embedding"]["word"]
        return apply(head, params["word_head"], t_GxLxD, word)

    return MaskedLm(init, encode, word_logits)
