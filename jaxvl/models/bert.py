"""BERT (Devlin et al. 2019) with fusion layers (Li et al. 2021): post-norm, exact GELU.

The first layers encode text; a fusion layer also attends to the image tokens in between.
Letters: G batch, P texts beside a picture in one pass, L text tokens, N image tokens, D width,
h heads, V vocabulary.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.models.layers import (
    KERNEL,
    SMALL_KERNEL,
    TRUNCATED_NORMAL,
    Dense,
    Mlp,
    SelfAttention,
    attention_scores,
    dropout,
    gelu,
    init_stack,
    join_heads,
    layer_norm,
    mix,
    run_stack,
    split_heads,
    split_stack,
    unstack,
)
from jaxvl.ops.dot import product
from jaxvl.ops.rng import stream

EPSILON = 1e-12
TOKEN_TYPES = 2  # first and second sentence


class ImageKeys(NamedTuple):
    """Cross-attention keys and values of every fusion layer, before their bias: [l, G, N, D].

    They are linear in the image tokens, so an attenuated token has attenuated keys and values, and
    every fusion pass over the same picture shares them.
    """

    keys: jax.Array
    values: jax.Array


class Shared(NamedTuple):
    """Image keys for P texts beside each picture, [G * P] rows in all: text p's are sets[parts[p]].

    P runs fastest, so that whatever belongs to a picture stays on the device that has it.
    """

    sets: tuple[ImageKeys, ...]
    parts: tuple[int, ...]


def beside(parts):
    """Returns [G * P, ...]: the rows of P arrays [G, ...] in turn."""
    return jnp.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


class Embeddings(nn.Module):
    """Word, position and token type (always the first of `kinds`), normalised."""

    vocabulary: int
    positions: int
    kinds: int
    width: int
    rate: float
    numerics: tuple
    epsilon: float
    first_position: int = 0  # RoBERTa's positions begin after that of its padding

    @nn.compact
    def __call__(self, ids_GxL, key):
        word = self.param("word", TRUNCATED_NORMAL, (self.vocabulary, self.width))
        position = self.param("position", TRUNCATED_NORMAL, (self.positions, self.width))
        kind = self.param("token_type", TRUNCATED_NORMAL, (self.kinds, self.width))
        place = position[None, self.first_position : self.first_position + ids_GxL.shape[1]]
        t = word[ids_GxL] + place + kind[None, None, 0]
        t = layer_norm(self.epsilon, self.numerics, name="norm")(t)
        return dropout(t, self.rate, key, "embedding")


class TextLayer(nn.Module):
    """Self-attention and feed-forward, each added and then normalised."""

    heads: int
    mlp_width: int
    rate: float
    numerics: tuple
    epsilon: float

    def setup(self):
        self.attention = SelfAttention(self.heads, self.numerics, self.rate, out_init=SMALL_KERNEL)
        self.attention_norm = layer_norm(self.epsilon, self.numerics, name=None)
        self.mlp = Mlp(self.mlp_width, self.numerics, out_init=SMALL_KERNEL)
        self.mlp_norm = layer_norm(self.epsilon, self.numerics, name=None)

    def __call__(self, t, mask_GxL, key):
        return self.feed_forward(self.attend_to_text(t, mask_GxL, key), key)

    def attend_to_text(self, t, mask_GxL, key, queries=None):
        change = self.attention(t, mask_GxL, key, queries)
        change = dropout(change, self.rate, key, "attention_out")
        return self.attention_norm(t[:, :queries] + change)

    def feed_forward(self, t, key):
        return self.mlp_norm(t + dropout(self.mlp(t), self.rate, key, "mlp_out"))


class FusionLayer(TextLayer):
    """A text layer that attends to the picture between its two halves."""

    image_width: int

    def setup(self):
        super().setup()
        self.cross_attention = CrossAttention(
            self.heads, self.rate, self.numerics, self.image_width
        )
        self.cross_norm = layer_norm(self.epsilon, self.numerics, name=None)

    def __call__(self, t, mask_GxL, image, *, key, keep_GxN, probe, queries=None):
        """Returns (t, attention_GxhxLxN); `probe` is added to the attention when not None.

        queries: how many tokens, from the first, are wanted; None for every one.
        """
        t = self.attend_to_text(t, mask_GxL, key, queries)
        change, attention = self.cross_attention(t, image, key, keep_GxN=keep_GxN, probe=probe)
        t = self.cross_norm(t + dropout(change, self.rate, key, "cross_out"))
        return self.feed_forward(t, key), attention


class CrossAttention(nn.Module):
    """Attention of words to image tokens whose keys and values are given without their bias."""

    heads: int
    rate: float
    numerics: tuple
    image_width: int

    @nn.compact
    def __call__(self, t_GxLxD, image, key, *, keep_GxN, probe):
        width = t_GxLxD.shape[-1]
        for name in ("key", "value"):  # used by `image_keys`; made here, beside their layer
            self.param(f"{name}_kernel", KERNEL, (self.image_width, width))
        # A factor on a token scales its key before the bias; the bias shifts every score of a
        # query by the same amount, which the softmax cancels, so only the values' bias counts.
        self.param("key_bias", nn.initializers.zeros, (width,))
        value_bias = self.param("value_bias", nn.initializers.zeros, (width,))
        query = split_heads(Dense(width, self.numerics, name="query")(t_GxLxD), self.heads)
        scores = attention_scores(
            query,
            split_heads(image.keys, self.heads),
            self.numerics,
            keep_GxM=keep_GxN,
            mask_GxM=None,
        )
        attention = jax.nn.softmax(scores)
        if probe is not None:
            attention = attention + probe
        weights = dropout(attention, self.rate, key, "cross_attention")
        # sum_n w_n (keep_n value_n + bias) = sum_n (w_n keep_n) value_n + bias sum_n w_n
        total_GxLxh = weights.sum(-1).transpose(0, 2, 1)
        if keep_GxN is not None:
            weights = weights * keep_GxN[:, None, None, :]
        mixed = mix(weights, split_heads(image.values, self.heads), self.numerics)
        mixed = join_heads(mixed)
        bias = total_GxLxh[..., None] * value_bias.reshape(1, 1, self.heads, -1)
        mixed = mixed + bias.reshape(mixed.shape).astype(mixed.dtype)
        return Dense(width, self.numerics, kernel_init=SMALL_KERNEL, name="out")(mixed), attention


class WordHead(nn.Module):
    """Masked language modelling: a transform, then the word embeddings themselves."""

    vocabulary: int
    width: int
    numerics: tuple
    epsilon: float

    @nn.compact
    def __call__(self, t_GxLxD, word_VxD):
        t = gelu(Dense(self.width, self.numerics, name="transform")(t_GxLxD))
        t = layer_norm(self.epsilon, self.numerics, name="norm")(t)
        bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))
        logits = product("GLD,VD->GLV", t, word_VxD, dtype=self.numerics.product)
        return logits + bias[None, None]


class Bert(NamedTuple):
    """The functions of one BERT with fusion layers; see jaxvl.types.Model for their arguments."""

    init: object
    encode: object
    image_keys: object
    fuse: object
    word_logits: object


def make_bert(sizes, *, image_width, numerics, scan, remat):
    """Returns the Bert of config.model.text; parameters under text/, fusion/ and word_head/."""
    epsilon = sizes.norm_epsilon or EPSILON
    embeddings = Embeddings(
        sizes.vocabulary_size,
        sizes.positions,
        TOKEN_TYPES,
        sizes.width,
        sizes.dropout,
        numerics,
        epsilon,
    )
    layer = (sizes.heads, sizes.mlp_width, sizes.dropout, numerics, epsilon)
    text_layer, fusion_layer = TextLayer(*layer), FusionLayer(*layer, image_width)
    head = WordHead(sizes.vocabulary_size, sizes.width, numerics, epsilon)
    stack = functools.partial(run_stack, scan=scan, remat=remat)

    def init(key):
        return _init(key, sizes, embeddings, text_layer, fusion_layer, head)

    def encode(params, ids_GxL, mask_GxL, *, key):
        t = embeddings.apply({"params": params["text"]["embedding"]}, ids_GxL, key)

        def layer(p, t, key_l, _extra):
            return text_layer.apply({"params": p}, t, mask_GxL, key_l)

        return stack(layer, params["text"]["layers"], t, key=_stream(key, "text"))

    def image_keys(params, v_GxNxD):
        cross = params["fusion"]["layers"]["cross_attention"]
        return ImageKeys(
            *(_project(v_GxNxD, cross[f"{n}_kernel"], numerics, scan) for n in ("key", "value"))
        )

    def fuse(params, image, t_GxLxD, mask_GxL, *, key, keep_GxN, probe, layer, first_only):
        sets, parts = image if isinstance(image, Shared) else ((image,), (0,))

        def pictures(sets_l):
            if len(parts) == 1:
                return sets_l[0]
            return jax.tree.map(lambda *x: beside([x[part] for part in parts]), *sets_l)

        def plain(p, t, key_l, sets_l, queries=None):
            call = {"key": key_l, "keep_GxN": keep_GxN, "probe": None, "queries": queries}
            return fusion_layer.apply({"params": p}, t, mask_GxL, pictures(sets_l), **call)[0]

        key = _stream(key, "fusion")
        if layer is None and not first_only:
            return stack(plain, params["fusion"]["layers"], t_GxLxD, key=key, extra=sets), None
        apart = sizes.fusion_layers - 1 if layer is None else layer
        before, here, after = split_stack((params["fusion"]["layers"], sets), apart)
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        t = stack(plain, before[0], t_GxLxD, key=keys[0], extra=before[1])
        if layer is None:  # what the last layer makes of the other tokens reaches nobody
            return plain(here[0], t, keys[1], here[1], queries=1), None
        t, attention = fusion_layer.apply(
            {"params": here[0]},
            t,
            mask_GxL,
            pictures(here[1]),
            key=keys[1],
            keep_GxN=keep_GxN,
            probe=probe,
        )
        return stack(plain, after[0], t, key=keys[2], extra=after[1]), attention

    def word_logits(params, t_GxLxD):
        word = params["text"]["embedding"]["word"]
        return head.apply({"params": params["word_head"]}, t_GxLxD, word)

    return Bert(init, encode, image_keys, fuse, word_logits)


def _stream(key, name):
    return None if key is None else stream(key, name)


def _project(v_GxNxD, kernel_lxDxD, numerics, scan):
    """Returns [l, G, N, D]: the tokens through every layer's kernel."""
    rows = v_GxNxD.reshape(-1, v_GxNxD.shape[-1])

    def one(kernel):
        y = product("ri,io->ro", rows, kernel, dtype=numerics.product)
        return y.reshape(*v_GxNxD.shape[:-1], -1).astype(numerics.activation)

    if scan:
        return lax.map(one, kernel_lxDxD)
    return jnp.stack([one(kernel) for kernel in unstack(kernel_lxDxD, kernel_lxDxD.shape[0])])


def _init(key, sizes, embeddings, text_layer, fusion_layer, head):
    ids, mask = jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    t = jnp.zeros((1, 2, sizes.width))
    image = ImageKeys(t, t)

    def text_init(k):
        return text_layer.init(k, t, mask, None)["params"]

    def fusion_init(k):
        unused = {"key": None, "keep_GxN": None, "probe": None}
        return fusion_layer.init(k, t, mask, image, **unused)["params"]

    word = jnp.zeros((sizes.vocabulary_size, sizes.width))
    return {
        "text": {
            "embedding": embeddings.init(stream(key, "embedding"), ids, None)["params"],
            "layers": init_stack(text_init, stream(key, "text"), sizes.layers),
        },
        "fusion": {"layers": init_stack(fusion_init, stream(key, "fusion"), sizes.fusion_layers)},
        "word_head": head.init(stream(key, "word_head"), t, word)["params"],
    }
