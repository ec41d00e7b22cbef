"""The layers that both towers are made of, and how a stack of them is run.

Letters: G batch, L query tokens, M key tokens, h heads, d width of a head, D width.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxvl.ops.dot import product
from jaxvl.ops.rng import keep_mask, stream

TRUNCATED_NORMAL = nn.initializers.truncated_normal(0.02)
# Not BERT's and ViT's deviation of 0.02, which fits 768 inputs: in a tower of 96 a layer would
# hardly pass anything on, and the class token of a text would start out the same for every text.
KERNEL = nn.initializers.lecun_normal()
# What a post-norm layer adds starts at a third of what it is added to: at full size every layer
# halves what is left of the words, and a stack of four hardly learns to fill in a masked one.
SMALL_KERNEL = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")


# What the backward pass does not make again when layers are recomputed: it cost the most, and is
# small beside all that follows from it (attention weights, what activations and norms leave).
KEPT = "dense"


class Numerics(NamedTuple):
    """What a tower computes in: inputs of matrix products, and activations between them."""

    product: str
    activation: str


def gelu(x):
    """Returns the exact GELU, by erf: JAX's own takes erfc, three times as long on a CPU."""
    return x * (0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5))


# What stands between the two maps of a feed-forward; CLIP's first weights were trained with the
# second and are wrong with the first.
ACTIVATIONS = {
    "gelu": gelu,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}


class Dense(nn.Module):
    """A linear map of the last axis; its kernel is [in, out]."""

    features: int
    numerics: Numerics
    use_bias: bool = True
    kernel_init: Callable = KERNEL

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        rows = x.reshape(-1, x.shape[-1])
        y = product("ri,io->ro", rows, kernel, dtype=self.numerics.product)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,))[None]
        y = y.reshape(*x.shape[:-1], self.features).astype(self.numerics.activation)
        return checkpoint_name(y, KEPT)


class Mlp(nn.Module):
    """Two linear maps with one of ACTIVATIONS between them."""

    width: int
    numerics: Numerics
    activation: str = "gelu"
    out_init: Callable = KERNEL

    @nn.compact
    def __call__(self, x):
        hidden = ACTIVATIONS[self.activation](Dense(self.width, self.numerics, name="up")(x))
        return Dense(x.shape[-1], self.numerics, kernel_init=self.out_init, name="down")(hidden)


def layer_norm(epsilon, numerics, *, name):
    """Returns a LayerNorm module that computes in float32."""
    return nn.LayerNorm(
        epsilon=epsilon, use_fast_variance=False, dtype=numerics.activation, name=name
    )


def split_heads(x_GxLxD, heads):
    """Returns [G, h, L, d]: heads first, as products over them want it."""
    return x_GxLxD.reshape(*x_GxLxD.shape[:-1], heads, -1).swapaxes(1, 2)


def attention_scores(query_GxhxLxd, key_GxhxMxd, numerics, *, keep_GxM, mask_GxM, causal=False):
    """Returns float32 [G, h, L, M]: what the softmax over the keys is taken of.

    keep_GxM: factor of each key vector, or None for 1. mask_GxM: keys that exist, or None for all.
    causal: a query sees the keys up to its own place.
    """
    scale = query_GxhxLxd.shape[-1] ** -0.5
    scores_GxhxLxM = product(
        "GhLd,GhMd->GhLM", query_GxhxLxd * scale, key_GxhxMxd, dtype=numerics.product
    )
    if keep_GxM is not None:
        scores_GxhxLxM = scores_GxhxLxM * keep_GxM[:, None, None, :]
    if mask_GxM is not None:
        scores_GxhxLxM = jnp.where(mask_GxM[:, None, None, :], scores_GxhxLxM, -1e9)
    if causal:
        seen_LxM = jnp.tri(*scores_GxhxLxM.shape[2:], dtype=bool)
        scores_GxhxLxM = jnp.where(seen_LxM[None, None], scores_GxhxLxM, -1e9)
    return scores_GxhxLxM


def mix(weights_GxhxLxM, value_GxhxMxd, numerics):
    """Returns [G, h, L, d]: the values' sums under the weights."""
    mixed = product("GhLM,GhMd->GhLd", weights_GxhxLxM, value_GxhxMxd, dtype=numerics.product)
    return checkpoint_name(mixed.astype(numerics.activation), KEPT)


def join_heads(x_GxhxLxd):
    """Returns [G, L, D]."""
    x_GxLxhxd = x_GxhxLxd.swapaxes(1, 2)
    return x_GxLxhxd.reshape(*x_GxLxhxd.shape[:2], -1)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; `mask_GxL` None means every token exists.

    queries: how many tokens, from the first, attend to all of them; None for every one.
    """

    heads: int
    numerics: Numerics
    dropout: float
    causal: bool = False
    out_init: Callable = KERNEL

    @nn.compact
    def __call__(self, x_GxLxD, mask_GxL, key, queries=None):
        joined = Dense(3 * x_GxLxD.shape[-1], self.numerics, name="qkv")(x_GxLxD)
        parts = jnp.split(joined, 3, axis=-1)
        query, key_heads, value = (split_heads(part, self.heads) for part in parts)
        scores = attention_scores(
            query[:, :, :queries],
            key_heads,
            self.numerics,
            keep_GxM=None,
            mask_GxM=mask_GxL,
            causal=self.causal,
        )
        # A softmax whose sum divides the mixed values, which are fewer than the weights.
        weights = jnp.exp(scores - lax.stop_gradient(scores.max(-1, keepdims=True)))
        total = weights.sum(-1, keepdims=True)
        mixed = mix(dropout(weights, self.dropout, key, "attention"), value, self.numerics) / total
        out = Dense(x_GxLxD.shape[-1], self.numerics, kernel_init=self.out_init, name="out")
        return out(join_heads(mixed.astype(self.numerics.activation)))


def dropout(x, rate, key, name):
    """Returns x with a share `rate` of its entries zeroed and the rest scaled; key None: x."""
    if key is None or rate == 0:
        return x
    kept = keep_mask(stream(key, name), rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def init_stack(init_layer, key, layers):
    """Returns the parameters of `layers` layers, stacked along a new first axis."""
    return jax.vmap(init_layer)(jax.random.split(key, layers))


def run_stack(layer, params, x, *, key, scan, remat, extra=None):
    """Returns x after every layer: `layer(params_l, x, key_l, extra_l) -> x`.

    params, extra: trees with a leading axis of layers. scan: compile one layer instead of all of
    them; remat: recompute all of a layer but its dense products in the backward pass. The result
    does not depend on either.
    """
    layers = jax.tree.leaves(params)[0].shape[0]
    keys = None if key is None else jax.random.split(key, layers)
    apply = layer
    if remat:
        policy = jax.checkpoint_policies.save_only_these_names(KEPT)
        apply = jax.checkpoint(layer, policy=policy, prevent_cse=not scan)
    inputs = (params, keys, extra)
    if scan:
        return lax.scan(lambda x, one: (apply(one[0], x, one[1], one[2]), None), x, inputs)[0]
    for params_l, key_l, extra_l in unstack(inputs, layers):
        x = apply(params_l, x, key_l, extra_l)
    return x


def unstack(tree, layers):
    """Returns a list of `layers` trees, the slices along the first axis.

    lax.split, not indexing: its gradient is one concatenation instead of a padded sum a layer.
    """
    leaves, structure = jax.tree.flatten(tree)
    slices = [_split(leaf, layers) for leaf in leaves]
    return [structure.unflatten(one) for one in zip(*slices)]


def _split(leaf, layers):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return list(leaf)
    return [jnp.squeeze(part, 0) for part in lax.split(leaf, (1,) * layers, axis=0)]


def split_stack(tree, at):
    """Returns the stacks before layer `at`, of that layer alone (no axis of layers), and after."""

    def parts(leaf):
        return lax.split(leaf, (at, 1, leaf.shape[0] - at - 1), axis=0)

    leaves, structure = jax.tree.flatten(tree)
    before, here, after = zip(*map(parts, leaves))
    here = [leaf[0] for leaf in here]
    return structure.unflatten(before), structure.unflatten(here), structure.unflatten(after)
