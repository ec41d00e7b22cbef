"""The layers of BERT (Devlin et al. 2019): post-norm, with the exact GELU.

Letters: G batch, L text tokens, D width, V vocabulary.
"""

import flax.linen as nn
import jax

from jaxvl.models.layers import (
    SMALL_KERNEL,
    TRUNCATED_NORMAL,
    Dense,
    Mlp,
    Numerics,
    SelfAttention,
    dropout,
    gelu,
    layer_norm,
)
from jaxvl.ops.dot import product

EPSILON = 1e-12  # of LayerNorm
TOKEN_TYPES = 2  # of the first and of the second sentence; only the first is used


class Embeddings(nn.Module):
    """The normalised sum of word, position and token type (always the first of `kinds`)."""

    vocabulary: int
    positions: int
    kinds: int
    width: int
    rate: float
    numerics: Numerics
    epsilon: float
    first_position: int = 0  # RoBERTa numbers the first token 2

    @nn.compact
    def __call__(self, ids_GxL: jax.Array, key: jax.Array | None) -> jax.Array:
        word = self.param("word", TRUNCATED_NORMAL, (self.vocabulary, self.width))
        position = self.param("position", TRUNCATED_NORMAL, (self.positions, self.width))
        kind = self.param("token_type", TRUNCATED_NORMAL, (self.kinds, self.width))
        place = position[None, self.first_position : self.first_position + ids_GxL.shape[1]]
        t = word[ids_GxL] + place + kind[None, None, 0]
        t = layer_norm(self.epsilon, self.numerics, name="norm")(t)
        return dropout(t, self.rate, key, "embedding")


class Layer(nn.Module):
    """The halves of a layer, self-attention and feed-forward; each is added, then normalised."""

    heads: int
    mlp_width: int
    rate: float
    numerics: Numerics
    epsilon: float

    def setup(self) -> None:
        self.attention = SelfAttention(self.heads, self.numerics, self.rate, out_init=SMALL_KERNEL)
        self.attention_norm = layer_norm(self.epsilon, self.numerics, name=None)
        self.mlp = Mlp(self.mlp_width, self.numerics, out_init=SMALL_KERNEL)
        self.mlp_norm = layer_norm(self.epsilon, self.numerics, name=None)

    def attend_to_text(
        self,
        t_GxLxD: jax.Array,
        mask_GxL: jax.Array,
        key: jax.Array | None,
        queries: int | None = None,
    ) -> jax.Array:
        change, _ = self.attention(t_GxLxD, mask_GxL, key, queries)
        change = dropout(change, self.rate, key, "attention_out")
        return self.attention_norm(t_GxLxD[:, :queries] + change)

    def feed_forward(self, t_GxLxD: jax.Array, key: jax.Array | None) -> jax.Array:
        return self.mlp_norm(t_GxLxD + dropout(self.mlp(t_GxLxD), self.rate, key, "mlp_out"))


class TextLayer(Layer):
    """A layer of the text encoder."""

    def __call__(self, t_GxLxD: jax.Array, mask_GxL: jax.Array, key: jax.Array | None) -> jax.Array:
        return self.feed_forward(self.attend_to_text(t_GxLxD, mask_GxL, key), key)


class WordHead(nn.Module):
    """The head of masked language modelling; it shares its last kernel with the word embeddings."""

    vocabulary: int
    width: int
    numerics: Numerics
    epsilon: float

    @nn.compact
    def __call__(self, t_GxLxD: jax.Array, word_VxD: jax.Array) -> jax.Array:
        t = gelu(Dense(self.width, self.numerics, name="transform")(t_GxLxD))
        t = layer_norm(self.epsilon, self.numerics, name="norm")(t)
        bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))
        logits = product("GLD,VD->GLV", t, word_VxD, dtype=self.numerics.product)
        return logits + bias[None, None]
