"""Length bucketing: truncate the texts of a batch to the shortest allowed length that fits them.

XLA needs static shapes, so there are a few allowed lengths and not one for each batch. This is for
models whose result does not depend on the padding, as CLIP's.
Letters: G batch, K hard negatives, L text tokens.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.types import Batch

MASKS = ("token_mask", "second_mask", "negative_mask")
TEXTS = ("token_ids", "word_ids", "second_ids", "negative_ids", *MASKS)


def at_length(function: Callable[[Batch], Any], batch: Batch, lengths: Sequence[int]) -> Any:
    """Returns function(batch) of the batch truncated to the first of `lengths` that fits.

    lengths: in tokens, ascending; a batch that fits none of them keeps its own length. The program
    has one branch for each length. Gradients must be taken inside `function`: through the choice of
    the branch, the backward passes of all branches would keep their inputs. The choice is made on
    the device from the global batch, so all processes make the same one.
    """
    whole = batch["token_ids"].shape[-1]
    lengths = [length for length in lengths if length < whole]
    if not lengths:
        return function(batch)

    def branch(length: int) -> Callable[[Batch], Any]:
        return lambda batch: function(truncated(batch, length))

    index = (longest(batch) > jnp.asarray(lengths)).sum()
    return lax.switch(index, [branch(length) for length in (*lengths, whole)], batch)


def longest(batch: Batch) -> jax.Array:
    """Returns the number of tokens of the longest text, captions and hard negatives alike."""

    def last(mask: jax.Array) -> jax.Array:
        used_L = mask.any(axis=tuple(range(mask.ndim - 1)))
        return (used_L * (jnp.arange(len(used_L)) + 1)).max()

    return jnp.stack([last(batch[name]) for name in MASKS if name in batch]).max()


def truncated(batch: Batch, length: int) -> Batch:
    """Returns the batch with the first `length` tokens of every text."""
    return {name: x[..., :length] if name in TEXTS else x for name, x in batch.items()}
