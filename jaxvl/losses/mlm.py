"""Masked language modelling with distillation (Devlin et al. 2019; Li et al. 2021, eq. 5).

Letters: G batch, L text tokens, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Corrupted(NamedTuple):
    """Token ids of which some are hidden."""

    ids_GxL: jax.Array
    hidden_GxL: jax.Array  # True at tokens to predict


def corrupt(
    key: jax.Array,
    ids_GxL: jax.Array,
    maskable_GxL: jax.Array,
    *,
    probability: float,
    mask_token: int,
    vocabulary_size: int,
) -> Corrupted:
    """Returns the ids with each maskable token hidden with this probability.

    Of the hidden tokens 80 % become [MASK], 10 % a random token, and 10 % stay as they are.
    """
    hide, kind, word = jax.random.split(key, 3)
    hidden = maskable_GxL & jax.random.bernoulli(hide, probability, ids_GxL.shape)
    draw = jax.random.uniform(kind, ids_GxL.shape)
    random_ids = jax.random.randint(word, ids_GxL.shape, 0, vocabulary_size)
    shown = jnp.where(draw < 0.8, mask_token, jnp.where(draw < 0.9, random_ids, ids_GxL))
    return Corrupted(jnp.where(hidden, shown, ids_GxL), hidden)


def masked_words(
    logits_GxLxV: jax.Array,
    ids_GxL: jax.Array,
    momentum_GxLxV: jax.Array | None,
    *,
    distill: jax.Array | float,
) -> jax.Array:
    """Returns float32 [G, L]: (1 - distill) * CE to the true id + distill * CE to the soft target.

    The soft target is softmax(momentum_GxLxV), the momentum encoder's prediction; with None it is
    left out and `distill` is ignored.
    """
    log_p = jax.nn.log_softmax(logits_GxLxV.astype(jnp.float32))
    true = -jnp.take_along_axis(log_p, ids_GxL[..., None], axis=-1)[..., 0]
    if momentum_GxLxV is None:
        return true
    soft = -(jax.nn.softmax(momentum_GxLxV.astype(jnp.float32)) * log_p).sum(-1)
    return (1 - distill) * true + distill * soft
