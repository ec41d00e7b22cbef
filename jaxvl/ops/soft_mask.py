"""Text-driven soft masks: draw a word of each caption, and attenuate each patch by its relevance.

Letters: G batch, L text tokens, P patches, N = P + 1 image tokens (class token first).
"""

import jax
import jax.numpy as jnp


def choose_words(
    key: jax.Array, words_GxL: jax.Array, eligible_GxL: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns (share_GxL, found_G): one word per caption, drawn uniformly, and if there was one.

    share_GxL: weights that average over the eligible tokens of the drawn word; all 0 in a caption
    without an eligible token. words_GxL: the word that each token belongs to.
    """
    same_GxLxL = (words_GxL[:, :, None] == words_GxL[:, None, :]) & eligible_GxL[:, None, :]
    length = words_GxL.shape[1]
    earlier_LxL = jnp.tril(jnp.ones((length, length), bool), -1)
    # Only the first eligible token of a word takes part in the draw.
    first_GxL = eligible_GxL & ~(same_GxLxL & earlier_LxL[None]).any(-1)
    draw_GxL = jnp.where(first_GxL, jax.random.uniform(key, words_GxL.shape), -1.0)
    chosen_G = draw_GxL.argmax(-1)
    pieces_GxL = jnp.take_along_axis(same_GxLxL, chosen_G[:, None, None], axis=1)[:, 0]
    found_G = eligible_GxL.any(-1)
    pieces_GxL = pieces_GxL & found_G[:, None]
    return pieces_GxL / jnp.maximum(pieces_GxL.sum(-1, keepdims=True), 1), found_G


def normalise_relevance(relevance_GxP: jax.Array) -> jax.Array:
    """Returns each row scaled to [0, 1], C of docs/softmask.md; a constant row becomes 0."""
    low, high = (f(relevance_GxP, -1, keepdims=True) for f in (jnp.min, jnp.max))
    # The relevance of a confident model can be as small as 1e-8, so the threshold is relative.
    spread = high - low
    flat = spread <= 1e-6 * jnp.maximum(jnp.abs(high), 1e-30)
    return jnp.where(flat, 0.0, (relevance_GxP - low) / jnp.where(flat, 1.0, spread))


def keep_factors(mask_GxP: jax.Array, strength: jax.Array | float) -> jax.Array:
    """Returns [G, N]: 1 for the class token, then 1 - strength * mask for each patch."""
    return jnp.pad(1 - strength * mask_GxP, ((0, 0), (1, 0)), constant_values=1.0)
