"""Vision transformer (Dosovitskiy et al. 2021): pre-norm blocks, class token, learned positions.

Letters: G batch, H W pixels, N tokens (class token first), L tokens of any kind, D width.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvl.models.layers import (
    Mlp,
    Numerics,
    SelfAttention,
    apply,
    init_params,
    init_stack,
    layer_norm,
    run_stack,
)
from jaxvl.models.patches import PatchEmbedding
from jaxvl.ops.rng import stream
from jaxvl.preprocessing import PIXEL_MEAN, PIXEL_STD
from jaxvl.types import Params

EPSILON = 1e-6  # of LayerNorm


class Block(nn.Module):
    """A pre-norm transformer block."""

    heads: int
    mlp_width: int
    numerics: Numerics
    epsilon: float
    activation: str
    causal: bool

    @nn.compact
    def __call__(self, x_GxLxD: jax.Array) -> jax.Array:
        norm = functools.partial(layer_norm, self.epsilon, self.numerics)
        attention = SelfAttention(self.heads, self.numerics, 0.0, self.causal, name="attention")
        x = x_GxLxD + attention(norm(name="attention_norm")(x_GxLxD), None, None)
        mlp = Mlp(self.mlp_width, self.numerics, self.activation, name="mlp")
        return x + mlp(norm(name="mlp_norm")(x))


def make_blocks(
    sizes: ConfigDict,
    *,
    epsilon: float,
    activation: str,
    causal: bool,
    numerics: Numerics,
    scan: bool,
    remat: bool,
) -> tuple[Callable[[jax.Array], Params], Callable[[Params, jax.Array], jax.Array]]:
    """Returns (init, run) of a stack of blocks and the norm after them.

    init: (key) -> {"layers": ..., "norm": ...}. run: (params, x_GxLxD) -> x_GxLxD; its params may
    have other entries too. sizes: config.model.image or .text. scan, remat: as in `run_stack`.
    """
    block = Block(sizes.heads, sizes.mlp_width, numerics, epsilon, activation, causal)
    norm = layer_norm(epsilon, numerics, name=None)
    x_1x2xD = jnp.zeros((1, 2, sizes.width))

    def init(key):
        return {
            "layers": init_stack(
                lambda k: init_params(block, k, x_1x2xD), stream(key, "layers"), sizes.layers
            ),
            "norm": init_params(norm, stream(key, "norm"), x_1x2xD),
        }

    def run(params, x):
        x = run_stack(
            lambda p, x, _key, _extra: apply(block, p, x),
            params["layers"],
            x,
            key=None,
            scan=scan,
            remat=remat,
        )
        return apply(norm, params["norm"], x)

    return init, run


def make_vit(
    sizes: ConfigDict,
    *,
    image_size: int,
    numerics: Numerics,
    scan: bool,
    remat: bool,
    epsilon: float = EPSILON,
    activation: str = "gelu",
    pre_norm: bool = False,
    keep_unmixed: bool = False,
) -> tuple[Callable[[jax.Array], Params], Callable[[Params, jax.Array], jax.Array]]:
    """Returns (init, encode) of an image encoder.

    init: (key) -> params. encode: (params, image_GxHxWx3 uint8) -> v_GxNxD. sizes:
    config.model.image. image_size: side in pixels, a multiple of the patch size. epsilon: of
    LayerNorm, if sizes.norm_epsilon is 0. pre_norm: as CLIP does, normalise the embedded patches,
    which then have no bias. keep_unmixed: after the class token, return the embedded patches,
    normalised, and not what the blocks made of them. scan, remat: as in `layers.run_stack`.
    """
    tokens = (image_size // sizes.patch_size) ** 2 + 1
    epsilon = sizes.norm_epsilon or epsilon
    embedding = PatchEmbedding(
        sizes.patch_size, sizes.width, tokens, numerics, not pre_norm, sizes.stem, epsilon
    )
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
        image = jnp.zeros((1, image_size, image_size, 3))
        v_1x1xD = jnp.zeros((1, 1, sizes.width))
        norms = ("pre_norm",) * pre_norm + ("unmixed_norm",) * keep_unmixed
        return {
            **{name: init_params(norm, stream(key, name), v_1x1xD) for name in norms},
            "embedding": init_params(embedding, stream(key, "embedding"), image),
            **init_blocks(key),
        }

    def encode(params, image_GxHxWx3):
        x = normalise_pixels(image_GxHxWx3)
        v = apply(embedding, params["embedding"], x)
        if pre_norm:
            v = apply(norm, params["pre_norm"], v)
        mixed = run_blocks(params, v)
        if not keep_unmixed:
            return mixed
        unmixed = apply(norm, params["unmixed_norm"], v[:, 1:])
        return jnp.concatenate([mixed[:, :1], unmixed], axis=1)

    return init, encode


def normalise_pixels(image_GxHxWx3: jax.Array) -> jax.Array:
    """Returns float32 [G, H, W, 3]: the uint8 pixels less PIXEL_MEAN, divided by PIXEL_STD."""
    mean, std = (jnp.asarray(x)[None, None, None] * 255 for x in (PIXEL_MEAN, PIXEL_STD))
    return (image_GxHxWx3.astype(jnp.float32) - mean) / std


def interpolate_positions(positions_1xNxD: jax.Array, tokens: int) -> jax.Array:
    """Returns [1, tokens, D]: the grid of positions resized bicubically, the class position kept.

    It is equal to PyTorch's F.interpolate(mode="bicubic", align_corners=False), with which the
    published models were fine-tuned. Raises ValueError where the old or the new grid is not square.
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


def cubic_weights(have: int, want: int) -> np.ndarray:
    """Returns float32 [want, have]: the matrix that resizes a row of samples as PyTorch does.

    This is cubic convolution with a = -0.75 and repeated edges; jax.image has a = -0.5.

    Source: Keys 1981.
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
