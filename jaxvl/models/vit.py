"""Vision transformer (Dosovitskiy et al. 2021): pre-norm blocks, class token, learned positions.

Letters: G batch, H W pixels, N tokens (class token first), L tokens of any kind, D width, h heads.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvl.models.layers import (
    KEPT,
    Mlp,
    Numerics,
    SelfAttention,
    apply,
    init_params,
    init_stack,
    layer_norm,
    run_stack,
    split_stack,
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
    def __call__(
        self, x_GxLxD: jax.Array, queries: int | None = None, probe: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns (x of the first `queries` tokens, their attention); see SelfAttention."""
        norm = functools.partial(layer_norm, self.epsilon, self.numerics)
        attend = SelfAttention(self.heads, self.numerics, 0.0, self.causal, name="attention")
        change, attention = attend(norm(name="attention_norm")(x_GxLxD), None, None, queries, probe)
        x = x_GxLxD[:, :queries] + change
        mlp = Mlp(self.mlp_width, self.numerics, self.activation, name="mlp")
        return x + mlp(norm(name="mlp_norm")(x)), attention


class Blocks(NamedTuple):
    """A stack of blocks and the norm after them.

    The parameters given may have other entries too. `run_last` after `run_before_last` gives the
    first token of `run`, without the work on the others in the last block.
    """

    init: Callable[[jax.Array], Params]  # (key) -> {"layers": ..., "norm": ...}
    run: Callable[[Params, jax.Array], jax.Array]  # (params, x_GxLxD) -> x_GxLxD, normalised
    run_before_last: Callable[[Params, jax.Array], jax.Array]  # (params, x_GxLxD) -> x_GxLxD
    # (params, x_GxLxD, probe_GxhxL or None) -> (the first token, normalised, [G, D]; its
    # attention_GxhxL, to which the probe is added)
    run_last: Callable[..., tuple[jax.Array, jax.Array]]


def make_blocks(
    sizes: ConfigDict,
    *,
    epsilon: float,
    activation: str,
    causal: bool,
    numerics: Numerics,
    scan: bool,
    remat: bool,
) -> Blocks:
    """Returns the Blocks of config.model.image or .text. scan, remat: as in `run_stack`."""
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

    def run_layers(layers, x):
        def one(p, x, _key, _extra):
            return apply(block, p, x)[0]

        return run_stack(one, layers, x, key=None, scan=scan, remat=remat)

    def run(params, x):
        return apply(norm, params["norm"], run_layers(params["layers"], x))

    def run_before_last(params, x):
        return run_layers(split_stack(params["layers"], sizes.layers - 1)[0], x)

    def run_last(params, x, probe):
        def first(p, x, probe_Gxhx1xL):
            return apply(block, p, x, queries=1, probe=probe_Gxhx1xL)

        if remat:
            policy = jax.checkpoint_policies.save_only_these_names(KEPT)
            first = jax.checkpoint(first, policy=policy)
        last = split_stack(params["layers"], sizes.layers - 1)[1]
        x, attention = first(last, x, None if probe is None else probe[:, :, None])
        return apply(norm, params["norm"], x)[:, 0], attention[:, :, 0]

    return Blocks(init, run, run_before_last, run_last)


class ImageEncoder(NamedTuple):
    """An image encoder.

    `begin` and then `finish` give the class token of `encode`, without the work on the patches in
    the last block.
    """

    init: Callable[[jax.Array], Params]  # (key) -> params
    encode: Callable[[Params, jax.Array], jax.Array]  # (params, image_GxHxWx3 uint8) -> v_GxNxD
    begin: Callable[[Params, jax.Array], jax.Array]  # the same, before the last block
    # (params, v_GxNxD of `begin`, probe_GxhxN or None) -> (class token [G, D], attention_GxhxN)
    finish: Callable[..., tuple[jax.Array, jax.Array]]


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
) -> ImageEncoder:
    """Returns the ImageEncoder of config.model.image.

    image_size: side in pixels, a multiple of the patch size. epsilon: of LayerNorm, if
    sizes.norm_epsilon is 0. pre_norm: as CLIP does, normalise the embedded patches, which then have
    no bias. keep_unmixed: after the class token, `encode` returns the embedded patches, normalised,
    and not what the blocks made of them. scan, remat: as in `layers.run_stack`.
    """
    tokens = (image_size // sizes.patch_size) ** 2 + 1
    epsilon = sizes.norm_epsilon or epsilon
    embedding = PatchEmbedding(
        sizes.patch_size, sizes.width, tokens, numerics, not pre_norm, sizes.stem, epsilon
    )
    norm = layer_norm(epsilon, numerics, name=None)
    blocks = make_blocks(
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
            **blocks.init(key),
        }

    def embed(params, image_GxHxWx3):
        x = normalise_pixels(image_GxHxWx3)
        v = apply(embedding, params["embedding"], x)
        return apply(norm, params["pre_norm"], v) if pre_norm else v

    def encode(params, image_GxHxWx3):
        v = embed(params, image_GxHxWx3)
        mixed = blocks.run(params, v)
        if not keep_unmixed:
            return mixed
        unmixed = apply(norm, params["unmixed_norm"], v[:, 1:])
        return jnp.concatenate([mixed[:, :1], unmixed], axis=1)

    def begin(params, image_GxHxWx3):
        return blocks.run_before_last(params, embed(params, image_GxHxWx3))

    return ImageEncoder(init, encode, begin, blocks.run_last)


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
