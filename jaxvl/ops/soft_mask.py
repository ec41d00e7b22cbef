"""Text-driven soft masks: which word is asked, and how far it attenuates each patch.

Letters: G batch, L text tokens, P patches, N = P + 1 image tokens.
"""

import jax
import jax.numpy as jnp


def choose_words(key, words_GxL, eligible_GxL):
    """Draws one word a caption, uniformly over the words that have an eligible token.

    words_GxL: index of each token's word. Returns (share_GxL, found_G): the weights that average
    over the eligible pieces of the drawn word (all 0 where no word is eligible), and whether
    there was one.
    """
    same_GxLxL = (words_GxL[:, :, None] == words_GxL[:, None, :]) & eligible_GxL[:, None, :]
    length = words_GxL.shape[1]
    earlier_LxL = jnp.tril(jnp.ones((length, length), bool), -1)
    first_GxL = eligible_GxL & ~(same_GxLxL & earlier_LxL[None]).any(-1)
    draw_GxL = jnp.where(first_GxL, jax.random.uniform(key, words_GxL.shape), -1.0)
    chosen_G = draw_GxL.argmax(-1)
    pieces_GxL = jnp.take_along_axis(same_GxLxL, chosen_G[:, None, None], axis=1)[:, 0]
    found_G = eligible_GxL.any(-1)
    pieces_GxL = pieces_GxL & found_G[:, None]
    return pieces_GxL / jnp.maximum(pieces_GxL.sum(-1, keepdims=True), 1), found_G


def normalise_relevance(relevance_GxP):
    """Returns each row scaled to [0, 1]; a flat row becomes 0 (methods.md 2, C)."""
    low, high = (f(relevance_GxP, -1, keepdims=True) for f in (jnp.min, jnp.max))
    # The relevance of a confident model can be as small as 1e-8, so the guard is relative.
    spread = high - low
    flat = spread <= 1e-6 * jnp.maximum(jnp.abs(high), 1e-30)
    return jnp.where(flat, 0.0, (relevance_GxP - low) / jnp.where(flat, 1.0, spread))


def keep_factors(mask_GxP, strength):
    """Returns [G, N]: 1 - strength * mask for each patch, and 1 for the class token before them."""
    return jnp.pad(1 - strength * mask_GxP, ((0, 0), (1, 0)), constant_values=1.0)
