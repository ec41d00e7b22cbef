"""The layers that image and text encoders are made of, and how a stack of them is run.

Letters: G batch, L query tokens, M key tokens, h heads, d width of a head, D width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxvl.ops.dot import product
from jaxvl.ops.rng import keep_mask, stream

TRUNCATED_NORMAL = nn.initializers.truncated_normal(0.02)
# BERT and ViT use a standard deviation of 0.02, which suits layers of 768 inputs. In an encoder of
# width 96 such layers change almost nothing, and all texts start with the same class token.
KERNEL = nn.initializers.lecun_normal()
# The residual branches of post-norm layers start at about a third of the scale. At full scale each
# layer halves the signal of the tokens, and a stack of four layers hardly learns MLM.
SMALL_KERNEL = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")

# With `remat`, only values of this name are saved for the backward pass: the outputs of dense
# products, which are expensive to recompute and small in memory. Attention weights and the outputs
# of activations and norms are recomputed.
KEPT = "dense"


class Numerics(NamedTuple):
    """The types that a model computes in.

    Softmax, the statistics of norms, and losses are always in float32.
    """

    product: str  # inputs of matrix products
    activation: str  # values between the products


def gelu(x: jax.Array) -> jax.Array:
    """Returns the exact GELU by erf; jax.nn.gelu uses erfc, three times as slow on a CPU."""
    return x * (0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5))


# Between the two products of a feed-forward layer. OpenAI's weights of CLIP need `quick_gelu`; with
# `gelu` their outputs are wrong.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
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
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        rows = x.reshape(-1, x.shape[-1])
        y = product("ri,io->ro", rows, kernel, dtype=self.numerics.product)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,))[None]
        y = y.reshape(*x.shape[:-1], self.features).astype(self.numerics.activation)
        return checkpoint_name(y, KEPT)


class Mlp(nn.Module):
    """A feed-forward layer: two linear maps with one of ACTIVATIONS between them."""

    width: int
    numerics: Numerics
    activation: str = "gelu"
    out_init: Callable = KERNEL

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = ACTIVATIONS[self.activation](Dense(self.width, self.numerics, name="up")(x))
        return Dense(x.shape[-1], self.numerics, kernel_init=self.out_init, name="down")(hidden)


def layer_norm(epsilon: float, numerics: Numerics, *, name: str | None) -> nn.LayerNorm:
    """Returns a LayerNorm module; its statistics are computed in float32."""
    return nn.LayerNorm(
        epsilon=epsilon, use_fast_variance=False, dtype=numerics.activation, name=name
    )


def split_heads(x_GxLxD: jax.Array, heads: int) -> jax.Array:
    """Returns [G, h, L, d]."""
    return x_GxLxD.reshape(*x_GxLxD.shape[:-1], heads, -1).swapaxes(1, 2)


def join_heads(x_GxhxLxd: jax.Array) -> jax.Array:
    """Returns [G, L, D]."""
    x_GxLxhxd = x_GxhxLxd.swapaxes(1, 2)
    return x_GxLxhxd.reshape(*x_GxLxhxd.shape[:2], -1)


def attention_scores(
    query_GxhxLxd: jax.Array,
    key_GxhxMxd: jax.Array,
    numerics: Numerics,
    *,
    keep_GxM: jax.Array | None,
    mask_GxM: jax.Array | None,
    causal: bool = False,
) -> jax.Array:
    """Returns float32 [G, h, L, M]: the logits of the softmax over the keys.

    keep_GxM: factor of each key vector; None for 1. mask_GxM: True at keys that exist; None for
    all. causal: a query attends to the keys up to its own position.
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


def mix(weights_GxhxLxM: jax.Array, value_GxhxMxd: jax.Array, numerics: Numerics) -> jax.Array:
    """Returns [G, h, L, d]: the sums of the values under the weights."""
    mixed = product("GhLM,GhMd->GhLd", weights_GxhxLxM, value_GxhxMxd, dtype=numerics.product)
    return checkpoint_name(mixed.astype(numerics.activation), KEPT)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself."""

    heads: int
    numerics: Numerics
    dropout: float
    causal: bool = False
    out_init: Callable = KERNEL

    @nn.compact
    def __call__(
        self,
        x_GxLxD: jax.Array,
        mask_GxL: jax.Array | None,
        key: jax.Array | None,
        queries: int | None = None,
        probe: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns ([G, queries, D], the attention [G, h, queries, L]).

        mask_GxL: True at tokens that exist; None for all. key: for dropout, or None. queries: the
        number of tokens, from the first, that attend to all tokens; None for all of them. probe:
        added to the attention, to differentiate by it; or None.
        """
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
        # A softmax that divides the mixed values by the sum: there are fewer of them than weights.
        weights = jnp.exp(scores - lax.stop_gradient(scores.max(-1, keepdims=True)))
        total = weights.sum(-1, keepdims=True)
        mixed = mix(dropout(weights, self.dropout, key, "attention"), value, self.numerics) / total
        if probe is not None:
            mixed = mixed + mix(probe, value, self.numerics)
        out = Dense(x_GxLxD.shape[-1], self.numerics, kernel_init=self.out_init, name="out")
        return out(join_heads(mixed.astype(self.numerics.activation))), weights / total


def dropout(x: jax.Array, rate: float, key: jax.Array | None, name: str) -> jax.Array:
    """Returns x with a share `rate` of its entries zeroed and the others scaled up.

    key: the entries are drawn from its stream `name`; None returns x itself.
    """
    if key is None or rate == 0:
        return x
    kept = keep_mask(stream(key, name), rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def init_params(module: nn.Module, key: jax.Array, /, *inputs: Any, **options: Any) -> Any:
    """Returns the parameters of a module. inputs: arrays of which the shapes count."""
    return module.init(key, *inputs, **options)["params"]


def apply(module: nn.Module, params: Any, /, *inputs: Any, **options: Any) -> Any:
    """Returns what the module computes of the inputs with these parameters."""
    return module.apply({"params": params}, *inputs, **options)


def init_stack(init_layer: Callable, key: jax.Array, layers: int) -> Any:
    """Returns the parameters of so many layers, stacked along a new first axis.

    init_layer: (key) -> the parameters of one layer.
    """
    return jax.vmap(init_layer)(jax.random.split(key, layers))


def run_stack(
    layer: Callable,
    params: Any,
    x: jax.Array,
    *,
    key: jax.Array | None,
    scan: bool,
    remat: bool,
    extra: Any = None,
) -> jax.Array:
    """Returns x after all layers.

    layer: (params_l, x, key_l, extra_l) -> x. params, extra: trees with a leading axis of layers.
    key: for dropout, or None. scan: compile one layer instead of all of them. remat: recompute all
    of a layer but its dense products in the backward pass. Neither changes the result.
    """
    layers = jax.tree.leaves(params)[0].shape[0]
    keys = None if key is None else jax.random.split(key, layers)
    run = layer
    if remat:
        policy = jax.checkpoint_policies.save_only_these_names(KEPT)
        run = jax.checkpoint(layer, policy=policy, prevent_cse=not scan)
    inputs = (params, keys, extra)
    if scan:
        return lax.scan(lambda x, one: (run(one[0], x, one[1], one[2]), None), x, inputs)[0]
    for params_l, key_l, extra_l in unstack(inputs, layers):
        x = run(params_l, x, key_l, extra_l)
    return x


def unstack(tree: Any, layers: int) -> list[Any]:
    """Returns a list of `layers` trees, the slices along the first axis.

    They are made by lax.split, not by indexing: its gradient is a single concatenation instead of a
    sum of padded arrays.
    """
    leaves, structure = jax.tree.flatten(tree)
    slices = [_split(leaf, layers) for leaf in leaves]
    return [structure.unflatten(one) for one in zip(*slices)]


def _split(leaf: jax.Array, layers: int) -> list[jax.Array]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return list(leaf)
    return [jnp.squeeze(part, 0) for part in lax.split(leaf, (1,) * layers, axis=0)]


def split_stack(tree: Any, at: int) -> tuple[Any, Any, Any]:
    """Returns (the layers before `at`, that layer without its axis of layers, the layers after)."""

    def parts(leaf):
        return lax.split(leaf, (at, 1, leaf.shape[0] - at - 1), axis=0)

    leaves, structure = jax.tree.flatten(tree)
    before, here, after = zip(*map(parts, leaves))
    here = [leaf[0] for leaf in here]
    return structure.unflatten(before), structure.unflatten(here), structure.unflatten(after)
