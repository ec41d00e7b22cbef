"""A BERT whose first layers encode the text and whose last layers are ALBEF's fusion encoder.

In a fusion layer each text token also attends to the image tokens (Li et al. 2021).
Letters: G batch, T texts per image in one pass, L text tokens, N image tokens, D width, h heads,
l layers.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from jaxvl.models.bert import EPSILON, TOKEN_TYPES, Embeddings, Layer, TextLayer, WordHead
from jaxvl.models.layers import (
    KERNEL,
    SMALL_KERNEL,
    Dense,
    Numerics,
    apply,
    attention_scores,
    dropout,
    init_params,
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
from jaxvl.types import Params


class ImageKeys(NamedTuple):
    """The image's cross-attention keys and values in all fusion layers, without their biases.

    They are linear in the image tokens: a factor on a token is the same factor on its keys and
    values, so all fusion passes over an image can use the same ones.
    """

    keys: jax.Array  # [l, G, N, D]; inside a layer [G, N, D]
    values: jax.Array  # the same


class Shared(NamedTuple):
    """The image keys of G * T pairs in one pass: T texts for each of G images.

    Text t of an image attends to sets[parts[t]]. The rows of an image are adjacent, so that all its
    pairs stay on the device of the image.
    """

    sets: tuple[ImageKeys, ...]
    parts: tuple[int, ...]  # one for each of the T texts


def interleaved(parts: Sequence[jax.Array]) -> jax.Array:
    """Returns [G * T, ...]: the rows 0 of the T arrays [G, ...], then their rows 1, and so on."""
    return jnp.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


class FusionLayer(Layer):
    """A layer with cross-attention to the image between self-attention and feed-forward."""

    image_width: int
    hide_class_token: bool

    def setup(self) -> None:
        super().setup()
        self.cross_attention = CrossAttention(
            self.heads, self.rate, self.numerics, self.image_width, self.hide_class_token
        )
        self.cross_norm = layer_norm(self.epsilon, self.numerics, name=None)

    def __call__(
        self,
        t_GxLxD: jax.Array,
        mask_GxL: jax.Array,
        image: ImageKeys,
        *,
        key: jax.Array | None,
        keep_GxN: jax.Array | None,
        probe: jax.Array | None,
        queries: int | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns (t_GxLxD, attention_GxhxLxN).

        image: of this layer, [G, N, D]. keep_GxN, probe: as for `types.Model.fuse`. queries: the
        number of tokens, from the first, to compute; None for all.
        """
        t = self.attend_to_text(t_GxLxD, mask_GxL, key, queries)
        change, attention = self.cross_attention(t, image, key, keep_GxN=keep_GxN, probe=probe)
        t = self.cross_norm(t + dropout(change, self.rate, key, "cross_out"))
        return self.feed_forward(t, key), attention


class CrossAttention(nn.Module):
    """Attention of text tokens to image tokens, whose keys and values come without their biases."""

    heads: int
    rate: float
    numerics: Numerics
    image_width: int
    hide_class_token: bool

    @nn.compact
    def __call__(
        self,
        t_GxLxD: jax.Array,
        image: ImageKeys,
        key: jax.Array | None,
        *,
        keep_GxN: jax.Array | None,
        probe: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array]:
        width = t_GxLxD.shape[-1]
        for name in ("key", "value"):  # `image_keys` reads them; they are created with their layer
            self.param(f"{name}_kernel", KERNEL, (self.image_width, width))
        # A factor on a token scales its key before the bias. The bias of the keys adds the same
        # number to all scores of a query, and the softmax cancels it. It is kept for published
        # weights; only the bias of the values has an effect.
        self.param("key_bias", nn.initializers.zeros, (width,))
        value_bias = self.param("value_bias", nn.initializers.zeros, (width,))
        query = split_heads(Dense(width, self.numerics, name="query")(t_GxLxD), self.heads)
        scores = attention_scores(
            query,
            split_heads(image.keys, self.heads),
            self.numerics,
            keep_GxM=keep_GxN,
            mask_GxM=jnp.arange(image.keys.shape[1])[None] > 0 if self.hide_class_token else None,
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


class FusionBert(NamedTuple):
    """The functions of such a model; their arguments are those of types.Model."""

    init: Callable[[jax.Array], Params]
    encode: Callable[..., jax.Array]
    image_keys: Callable[[Params, jax.Array], ImageKeys]
    fuse: Callable[..., tuple[jax.Array, jax.Array | None]]
    word_logits: Callable[[Params, jax.Array], jax.Array]


def make_fusion_bert(
    sizes: ConfigDict,
    *,
    image_width: int,
    hide_class_token: bool,
    numerics: Numerics,
    scan: bool,
    remat: bool,
) -> FusionBert:
    """Returns the FusionBert of these sizes.

    Its parameters are under text/, fusion/ and word_head/. sizes: config.model.text.
    hide_class_token: texts attend to the patches of an image alone. scan, remat: as in
    `layers.run_stack`.
    """
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
    text_layer = TextLayer(*layer)
    fusion_layer = FusionLayer(*layer, image_width, hide_class_token)
    head = WordHead(sizes.vocabulary_size, sizes.width, numerics, epsilon)
    stack = functools.partial(run_stack, scan=scan, remat=remat)

    def init(key):
        return _init(key, sizes, embeddings, text_layer, fusion_layer, head)

    def encode(params, ids_GxL, mask_GxL, *, key):
        t = apply(embeddings, params["text"]["embedding"], ids_GxL, key)

        def layer(p, t, key_l, _extra):
            return apply(text_layer, p, t, mask_GxL, key_l)

        return stack(layer, params["text"]["layers"], t, key=_stream(key, "text"))

    def image_keys(params, v_GxNxD):
        cross = params["fusion"]["layers"]["cross_attention"]
        return ImageKeys(
            *(_project(v_GxNxD, cross[f"{n}_kernel"], numerics, scan) for n in ("key", "value"))
        )

    def word_logits(params, t_GxLxD):
        word = params["text"]["embedding"]["word"]
        return apply(head, params["word_head"], t_GxLxD, word)

    fuse = _make_fuse(fusion_layer, stack, layers=sizes.fusion_layers)
    return FusionBert(init, encode, image_keys, fuse, word_logits)


def _make_fuse(
    fusion_layer: FusionLayer, stack: Callable[..., jax.Array], *, layers: int
) -> Callable[..., tuple[jax.Array, jax.Array | None]]:
    """Returns `fuse` of types.Model. stack: run_stack with its options."""

    def fuse(params, image, t_GxLxD, mask_GxL, *, key, keep_GxN, probe, layer, first_only):
        sets, parts = image if isinstance(image, Shared) else ((image,), (0,))

        def run(p, t, key_l, sets_l, probe=None, queries=None):
            return apply(
                fusion_layer,
                p,
                t,
                mask_GxL,
                _of_pairs(sets_l, parts),
                key=key_l,
                keep_GxN=keep_GxN,
                probe=probe,
                queries=queries,
            )

        def states_alone(p, t, key_l, sets_l):
            return run(p, t, key_l, sets_l)[0]

        key, fusion_layers = _stream(key, "fusion"), params["fusion"]["layers"]
        if layer is None and not first_only:
            return stack(states_alone, fusion_layers, t_GxLxD, key=key, extra=sets), None
        # One layer is run on its own: the one to explain, or the last one, of which only the first
        # token is computed, since nothing reads the others.
        at = layers - 1 if layer is None else layer
        before, here, after = split_stack((fusion_layers, sets), at)
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        t = stack(states_alone, before[0], t_GxLxD, key=keys[0], extra=before[1])
        if layer is None:
            return run(here[0], t, keys[1], here[1], queries=1)[0], None
        t, attention = run(here[0], t, keys[1], here[1], probe)
        return stack(states_alone, after[0], t, key=keys[2], extra=after[1]), attention

    return fuse


def _of_pairs(sets_l: tuple[ImageKeys, ...], parts: tuple[int, ...]) -> ImageKeys:
    """Returns the keys and values of one layer for all pairs of a `Shared`, [G * T, N, D]."""
    if len(parts) == 1:
        return sets_l[0]
    return jax.tree.map(lambda *x: interleaved([x[part] for part in parts]), *sets_l)


def _stream(key: jax.Array | None, name: str) -> jax.Array | None:
    return None if key is None else stream(key, name)


def _project(
    v_GxNxD: jax.Array, kernel_lxDxD: jax.Array, numerics: Numerics, scan: bool
) -> jax.Array:
    """Returns [l, G, N, D]: the image tokens times the kernel of every layer."""
    rows = v_GxNxD.reshape(-1, v_GxNxD.shape[-1])

    def one(kernel):
        y = product("ri,io->ro", rows, kernel, dtype=numerics.product)
        return y.reshape(*v_GxNxD.shape[:-1], -1).astype(numerics.activation)

    if scan:
        return lax.map(one, kernel_lxDxD)
    return jnp.stack([one(kernel) for kernel in unstack(kernel_lxDxD, kernel_lxDxD.shape[0])])


def _init(
    key: jax.Array,
    sizes: ConfigDict,
    embeddings: Embeddings,
    text_layer: TextLayer,
    fusion_layer: FusionLayer,
    head: WordHead,
) -> Params:
    ids, mask = jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    t = jnp.zeros((1, 2, sizes.width))
    image = ImageKeys(t, t)

    def text_init(k):
        return init_params(text_layer, k, t, mask, None)

    def fusion_init(k):
        unused = {"key": None, "keep_GxN": None, "probe": None}
        return init_params(fusion_layer, k, t, mask, image, **unused)

    word = jnp.zeros((sizes.vocabulary_size, sizes.width))
    return {
        "text": {
            "embedding": init_params(embeddings, stream(key, "embedding"), ids, None),
            "layers": init_stack(text_init, stream(key, "text"), sizes.layers),
        },
        "fusion": {"layers": init_stack(fusion_init, stream(key, "fusion"), sizes.fusion_layers)},
        "word_head": init_params(head, stream(key, "word_head"), t, word),
    }
