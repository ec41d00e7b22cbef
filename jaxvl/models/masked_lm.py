"""BERT and RoBERTa that fill in masked words (Devlin et al. 2019; Liu et al. 2019), no picture.

The same layers as ALBEF's text, all of them in one stack.
Letters: G batch, L text tokens, D width, V vocabulary.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxvl.models.bert import Embeddings, TextLayer, WordHead
from jaxvl.models.layers import Numerics, init_stack, run_stack
from jaxvl.ops.rng import stream


class Sizes(NamedTuple):
    """What such a model consists of."""

    layers: int
    width: int
    heads: int
    mlp_width: int
    vocabulary_size: int
    positions: int
    token_types: int
    norm_epsilon: float
    first_position: int  # 0; RoBERTa: 2, after that of its padding


class MaskedLm(NamedTuple):
    """`encode(params, ids_GxL, mask_GxL) -> t_GxLxD`; `word_logits(params, t_GxLxD) -> [G, L, V]`.

    params: text/ and word_head/, as in ALBEF. mask: True at tokens, False at padding, which comes
    after them.
    """

    init: object
    encode: object
    word_logits: object


def make(sizes):
    """Returns the MaskedLm of these Sizes, in float32 and without dropout."""
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
            lambda k: layer.init(k, t, mask, None)["params"], stream(key, "text"), sizes.layers
        )
        embedding = embeddings.init(stream(key, "embedding"), ids, None)["params"]
        return {
            "text": {"embedding": embedding, "layers": layers},
            "word_head": head.init(stream(key, "word_head"), t, word)["params"],
        }

    def encode(params, ids_GxL, mask_GxL):
        t = embeddings.apply({"params": params["text"]["embedding"]}, ids_GxL, None)

        def one(p, t, _key, _extra):
            return layer.apply({"params": p}, t, mask_GxL, None)

        return run_stack(one, params["text"]["layers"], t, key=None, scan=True, remat=False)

    def word_logits(params, t_GxLxD):
        word = params["text"]["embedding"]["word"]
        return head.apply({"params": params["word_head"]}, t_GxLxD, word)

    return MaskedLm(init, encode, word_logits)
