"""Image-text matching: hard negatives drawn on the device, and their cross-entropy.

Letters: G batch, B blocks, g = G / B.
"""

import jax
import jax.numpy as jnp


def draw_negatives(key, similarity_GxG, same_GxG, *, blocks):
    """Draws for each row one column from softmax(similarity), never one of the same picture.

    similarity_GxG: logits. same_GxG: True where row and column show the same picture. blocks: the
    columns come from the row's own block of G / blocks. Returns (index_G, found_G); a row with
    nothing to draw has found False and its own index (Gumbel-max; Li et al. 2021, section 3.2).
    """
    rows = similarity_GxG.shape[0]
    block_G = jnp.arange(rows) // (rows // blocks)
    allowed_GxG = ~same_GxG & (block_G[:, None] == block_G[None, :])
    gumbel_GxG = jax.random.gumbel(key, similarity_GxG.shape)
    scores_GxG = jnp.where(allowed_GxG, similarity_GxG + gumbel_GxG, -jnp.inf)
    found_G = allowed_GxG.any(-1)
    return jnp.where(found_G, scores_GxG.argmax(-1), jnp.arange(rows)), found_G


def take_rows(x, index_G, *, blocks):
    """Returns x[index_G] where every index lies in its row's own block: no talk across blocks."""
    rows = x.shape[0] // blocks
    local = index_G.reshape(blocks, rows) - rows * jnp.arange(blocks)[:, None]
    parts = x.reshape(blocks, rows, *x.shape[1:])
    return jax.vmap(lambda part, index: part[index])(parts, local).reshape(x.shape)


def cross_entropy(logits_RxC, label):
    """Returns float32 [R]: -log p of class `label` in each row."""
    return -jax.nn.log_softmax(logits_RxC.astype(jnp.float32))[:, label]
