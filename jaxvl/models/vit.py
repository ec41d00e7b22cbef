"""Vision transformer (Dosovitskiy et al. 2021): pre-norm blocks, class token, learned positions.

Letters: G batch, H W pixels, N tokens (class token first), D width.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxvl.models.layers import (
    TRUNCATED_NORMAL,
    Dense,
    Mlp,
    SelfAttention,
    init_stack,
    layer_norm,
    run_stack,
)
from jaxvl.ops.rng import stream
from jaxvl.preprocessing import PIXEL_MEAN, PIXEL_STD

EPSILON = 1e-6


class PatchEmbedding(nn.Module):
    """Patches to tokens: one matrix product, since stride and patch are the same."""

    patch: int
    width: int
    tokens: int
    numerics: tuple
    use_bias: bool

    @nn.compact
    def __call__(self, x_GxHxWx3):
        g, h, w, _ = x_GxHxWx3.shape
        p = self.patch
        patches = x_GxHxWx3.reshape(g, h // p, p, w // p, p, 3).transpose(0, 1, 3, 2, 4, 5)
        patches = patches.reshape(g, (h // p) * (w // p), p * p * 3)
        v = Dense(self.width, self.numerics, self.use_bias, name="projection")(patches)
        class_token = self.param("class_token", TRUNCATED_NORMAL, (1, 1, self.width))
        positions = self.param("positions", TRUNCATED_NORMAL, (1, self.tokens, self.width))
        first = jnp.broadcast_to(class_token, (g, 1, self.width)).astype(v.dtype)
        return jnp.concatenate([first, v], axis=1) + positions.astype(v.dtype)


class Block(nn.Module):
    """One pre-norm transformer block."""

    heads: int
    mlp_width: int
    numerics: tuple
    epsilon: float
    activation: str
    causal: bool

    @nn.compact
    def __call__(self, x):
        norm = functools.partial(layer_norm, self.epsilon, self.numerics)
        attention = SelfAttention(self.heads, self.numerics, 0.0, self.causal, name="attention")
        x = x + attention(norm(name="attention_norm")(x), None, None)
        mlp = Mlp(self.mlp_width, self.numerics, self.activation, name="mlp")
        return x + mlp(norm(name="mlp_norm")(x))


def make_blocks(sizes, *, epsilon, activation, causal, numerics, scan, remat):
    """Returns (init, run) of a tower's blocks and the norm behind them.

    init(key) -> {"layers", "norm"}; run(params, x [G, L, D]) -> x. params may hold more.
    """
    block = Block(sizes.heads, sizes.mlp_width, numerics, epsilon, activation, causal)
    norm = layer_norm(epsilon, numerics, name=None)
    x_1xLxD = jnp.zeros((1, 2, sizes.width))

    def init(key):
        return {
            "layers": init_stack(
                lambda k: block.init(k, x_1xLxD)["params"], stream(key, "layers"), sizes.layers
            ),
            "norm": norm.init(stream(key, "norm"), x_1xLxD)["params"],
        }

    def run(params, x):
        x = run_stack(
            lambda p, x, _key, _extra: block.apply({"params": p}, x),
            params["layers"],
            x,
            key=None,
            scan=scan,
            remat=remat,
        )
        return norm.apply({"params": params["norm"]}, x)

    return init, run


def make_vit(
    sizes,
    *,
    image_size,
    numerics,
    scan,
    remat,
    epsilon=EPSILON,
    activation="gelu",
    pre_norm=False,
):
    """Returns (init, encode): init(key) -> params; encode(params, image uint8) -> v_GxNxD.

    sizes: config.model.image. image_size: pixels of a side, divided by the patch.
    pre_norm: CLIP's kind, which normalises the embedded patches, and they have no bias.
    """
    tokens = (image_size // sizes.patch_size) ** 2 + 1
    epsilon = sizes.norm_epsilon or epsilon
    embedding = PatchEmbedding(sizes.patch_size, sizes.width, tokens, numerics, not pre_norm)
    norm = layer_norm(epsilon, numerics, name=None)
    init_blocks, run_blocks = make_blocks(
        sizes,
        epsilon=epsilon,
        activation=activation,
        causal=False,
        numerics=numerics,
        scan=scan,
        remat=remat,
    )

    def init(key):
        picture = jnp.zeros((1, image_size, image_size, 3))
        v_1x1xD = jnp.zeros((1, 1, sizes.width))
        first = {"pre_norm": norm.init(stream(key, "pre_norm"), v_1x1xD)["params"]}
        return {
            **(first if pre_norm else {}),
            "embedding": embedding.init(stream(key, "embedding"), picture)["params"],
            **init_blocks(key),
        }

    def encode(params, image_GxHxWx3):
        x = normalise_pixels(image_GxHxWx3)
        v = embedding.apply({"params": params["embedding"]}, x)
        if pre_norm:
            v = norm.apply({"params": params["pre_norm"]}, v)
        return run_blocks(params, v)

    return init, encode


def normalise_pixels(image_GxHxWx3):
    """Returns float32 pixels of zero mean and unit deviation from uint8 ones."""
    mean, std = (jnp.asarray(x)[None, None, None] * 255 for x in (PIXEL_MEAN, PIXEL_STD))
    return (image_GxHxWx3.astype(jnp.float32) - mean) / std


def interpolate_positions(positions_1xNxD, tokens):
    """Returns [1, tokens, D]: the grid resized bicubically, the class position kept.

    Equal to PyTorch's F.interpolate(mode="bicubic", align_corners=False), which the published
    models were fine-tuned with. Raises ValueError where either grid is not square.
    """
    have, want = (round((n - 1) ** 0.5) for n in (positions_1xNxD.shape[1], tokens))
    if (have**2 + 1, want**2 + 1) != (positions_1xNxD.shape[1], tokens):
        raise ValueError(f"positions {positions_1xNxD.shape[1]} -> {tokens}: not square grids")
    if have == want:
        return positions_1xNxD
    width = positions_1xNxD.shape[-1]
    grid = positions_1xNxD[0, 1:].reshape(have, have, width)
    weights = cubic_weights(have, want)
    resized = jnp.einsum("ih,jw,hwd->ijd", weights, weights, grid, precision="highest")
    return jnp.concatenate([positions_1xNxD[:, :1], resized.reshape(1, want**2, width)], axis=1)


def cubic_weights(have, want):
    """Returns float32 [want, have]: how a row of `have` samples is resized, as PyTorch does it.

    Cubic convolution (Keys 1981) with a = -0.75 (jax.image has -0.5), edges repeated.
    """
    a = -0.75
    at = (np.arange(want) + 0.5) * have / want - 0.5
    first = np.floor(at).astype(int)
    t = at - first

    def near(x):
        return ((a + 2) * x - (a + 3)) * x**2 + 1

    def far(x):
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    weights = np.zeros((want, have))
    for tap, share in enumerate((far(1 + t), near(t), near(1 - t), far(2 - t))):
        np.add.at(weights, (np.arange(want), np.clip(first - 1 + tap, 0, have - 1)), share)
    return weights.astype(np.float32)
