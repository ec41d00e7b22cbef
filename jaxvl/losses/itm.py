"""Image-text matching: its negatives, drawn on the device, and its cross-entropy.

Letters: G batch, R rows, C classes.
"""

import jax
import jax.numpy as jnp

BLOCK = 64  # candidates of a draw: ALBEF draws among the 64 pairs of one GPU


def blocks_of(rows: int, blocks: int) -> int:
    """Returns the number of equal parts of a batch within which negatives are drawn.

    rows: of the batch. blocks: as the configuration has it; 0 gives the largest power of two that
    leaves at least BLOCK rows in a part. It never depends on the devices. If their number is a
    power of two, each has whole parts, or shares one part with its neighbours alone.
    """
    if blocks:
        return blocks
    blocks = 1
    while rows % (2 * blocks) == 0 and rows // (2 * blocks) >= BLOCK:
        blocks *= 2
    return blocks


def draw_negatives(
    key: jax.Array,
    similarity_GxG: jax.Array,
    same_GxG: jax.Array,
    *,
    hardness: jax.Array | float,
    blocks: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns (index_G, found_G): for each row a column drawn from softmax(hardness * similarity).

    similarity_GxG: logits. same_GxG: True where a column belongs to the row; such a column is never
    drawn. hardness: 1 is ALBEF's draw, 0 draws evenly. blocks: the column comes
    from the row's own block of G / blocks rows. A row that has no column to draw gets its own
    index, and found_G is False.

    Source: Li et al. 2021, section 3.2. The draw is Gumbel-max.
    """
    rows = similarity_GxG.shape[0]
    block_G = jnp.arange(rows) // (rows // blocks)
    allowed_GxG = ~same_GxG & (block_G[:, None] == block_G[None, :])
    gumbel_GxG = jax.random.gumbel(key, similarity_GxG.shape)
    scores_GxG = jnp.where(allowed_GxG, hardness * similarity_GxG + gumbel_GxG, -jnp.inf)
    found_G = allowed_GxG.any(-1)
    return jnp.where(found_G, scores_GxG.argmax(-1), jnp.arange(rows)), found_G


def take_rows(x: jax.Array, index_G: jax.Array, *, blocks: int) -> jax.Array:
    """Returns x[index_G], where every index lies in its row's own block.

    The blocks are gathered one by one, so that no data crosses from one block to another.
    """
    rows = x.shape[0] // blocks
    local = index_G.reshape(blocks, rows) - rows * jnp.arange(blocks)[:, None]
    parts = x.reshape(blocks, rows, *x.shape[1:])
    return jax.vmap(lambda part, index: part[index])(parts, local).reshape(x.shape)


def cross_entropy(logits_RxC: jax.Array, label: int) -> jax.Array:
    """Returns float32 [R]: -log p of the class `label` in each row."""
    return -jax.nn.log_softmax(logits_RxC.astype(jnp.float32))[:, label]
