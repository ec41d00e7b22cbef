"""A batch's texts cut behind its longest one, to a few lengths: a program's shapes are fixed.

For models in which what stands behind a text's end changes nothing, as in CLIP.
Letters: G batch, K hard negatives, L text tokens.
"""

import jax.numpy as jnp
from jax import lax

MASKS = ("token_mask", "second_mask", "negative_mask")
TEXTS = ("token_ids", "word_ids", "second_ids", "negative_ids", *MASKS)


def at_length(function, batch, lengths):
    """Returns function(batch), the batch's texts cut to the first length that holds them all.

    lengths: ascending; a batch that is longer than the last one stays whole. Each is a branch of
    the program: gradients are to be taken inside of `function`, not through the choice, which would
    keep what the backward passes of all branches need. The choice is made on the device, of the
    global batch, so that all processes make the same one.
    """
    whole = batch["token_ids"].shape[-1]
    lengths = [length for length in lengths if length < whole]
    if not lengths:
        return function(batch)

    def branch(length):
        return lambda batch: function(cut(batch, length))

    index = (longest(batch) > jnp.asarray(lengths)).sum()
    return lax.switch(index, [branch(length) for length in (*lengths, whole)], batch)


def longest(batch):
    """Returns the number of tokens of the batch's longest text, whosever it is."""

    def last(mask):
        used_L = mask.any(axis=tuple(range(mask.ndim - 1)))
        return (used_L * (jnp.arange(len(used_L)) + 1)).max()

    return jnp.stack([last(batch[name]) for name in MASKS if name in batch]).max()


def cut(batch, length):
    """Returns the batch with the first `length` tokens of every text."""
    return {name: x[..., :length] if name in TEXTS else x for name, x in batch.items()}
