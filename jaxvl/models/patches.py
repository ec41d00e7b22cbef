"""From pixels to tokens: patches or convolutions, the class token, positions.

Letters: G batch, H W pixels, N tokens (class token first), P = N - 1 patches, C channels, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvl.models.layers import TRUNCATED_NORMAL, Dense, Numerics, gelu, layer_norm


class PatchEmbedding(nn.Module):
    """Image to tokens [G, N, D]. stem: as in config.model.image."""

    patch: int
    width: int
    tokens: int
    numerics: Numerics
    use_bias: bool
    stem: str
    epsilon: float  # of the norms between convolutions

    @nn.compact
    def __call__(self, x_GxHxWx3: jax.Array) -> jax.Array:
        if self.stem == "convolutions":
            stem = Convolutions(
                self.patch, self.width, self.numerics, self.epsilon, name="convolutions"
            )
            patches_GxPxC = stem(x_GxHxWx3)
        else:
            patches_GxPxC = cut(x_GxHxWx3, self.patch)
        v = Dense(self.width, self.numerics, self.use_bias, name="projection")(patches_GxPxC)
        class_token = self.param("class_token", TRUNCATED_NORMAL, (1, 1, self.width))
        positions = self.param("positions", TRUNCATED_NORMAL, (1, self.tokens, self.width))
        first = jnp.broadcast_to(class_token, (v.shape[0], 1, self.width)).astype(v.dtype)
        return jnp.concatenate([first, v], axis=1) + positions.astype(v.dtype)


def cut(x_GxHxWxC: jax.Array, patch: int) -> jax.Array:
    """Returns [G, P, patch * patch * C]: the pixels of each patch, row by row."""
    g, h, w, c = x_GxHxWxC.shape
    patches = x_GxHxWxC.reshape(g, h // patch, patch, w // patch, patch, c)
    return patches.transpose(0, 1, 3, 2, 4, 5).reshape(g, -1, patch * patch * c)


class Convolutions(nn.Module):
    """4 x 4 convolutions of stride 2 until a position is a patch; the channels double each time.

    A token then sees almost the whole of the patches around its own, so that it can know a shape
    before the tokens are mixed. The usual 3 x 3 kernels would centre it on a corner of its patch,
    and heat-maps would be shifted by half a patch. Source: Xiao et al. 2021, "Early convolutions
    help transformers see better".
    """

    patch: int  # a power of 2
    width: int  # channels of the last convolution
    numerics: Numerics
    epsilon: float

    @nn.compact
    def __call__(self, x_GxHxWx3: jax.Array) -> jax.Array:
        """Returns [G, P, D]."""
        x, halvings = x_GxHxWx3, self.patch.bit_length() - 1
        for k in range(halvings):
            channels = self.width // 2 ** (halvings - 1 - k)
            x = Dense(channels, self.numerics, name=f"convolution_{k}")(windows(x))
            x = gelu(layer_norm(self.epsilon, self.numerics, name=f"norm_{k}")(x))
        return x.reshape(x.shape[0], -1, x.shape[-1])


def windows(x_GxHxWxC: jax.Array) -> jax.Array:
    """Returns [G, H / 2, W / 2, 16 * C]: the 4 x 4 pixels around each 2 x 2, padded with 0.

    A dense layer of them is a convolution of stride 2.
    """
    h, w = x_GxHxWxC.shape[1:3]
    padded = jnp.pad(x_GxHxWxC, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + h : 2, j : j + w : 2] for i in range(4) for j in range(4)]
    return jnp.concatenate(shifted, axis=-1)
