"""Masked language modelling with distillation (Devlin et al. 2019; Li et al. 2021, eq. 5).

Letters: G batch, L text tokens, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Corrupted(NamedTuple):
    """Token ids with some hidden, and which ones."""

    ids_GxL: jax.Array
    hidden_GxL: jax.Array


def corrupt(key, ids_GxL, maskable_GxL, *, probability, mask_token, vocabulary_size):
    """Hides each maskable token with `probability`: 80 % [MASK], 10 % random, 10 % as it was."""
    hide, kind, word = jax.random.split(key, 3)
    hidden = maskable_GxL & jax.random.bernoulli(hide, probability, ids_GxL.shape)
    draw = jax.random.uniform(kind, ids_GxL.shape)
    random_ids = jax.random.randint(word, ids_GxL.shape, 0, vocabulary_size)
    shown = jnp.where(draw < 0.8, mask_token, jnp.where(draw < 0.9, random_ids, ids_GxL))
    return Corrupted(jnp.where(hidden, shown, ids_GxL), hidden)


def masked_words(logits_GxLxV, ids_GxL, twin_logits_GxLxV, *, distill):
    """Returns float32 [G, L]: (1 - distill) * CE to the true word + distill * CE to the twin's.

    twin_logits_GxLxV: None distills nothing.
    """
    log_p = jax.nn.log_softmax(logits_GxLxV.astype(jnp.float32))
    true = -jnp.take_along_axis(log_p, ids_GxL[..., None], axis=-1)[..., 0]
    if twin_logits_GxLxV is None:
        return true
    soft = -(jax.nn.softmax(twin_logits_GxLxV.astype(jnp.float32)) * log_p).sum(-1)
    return (1 - distill) * true + distill * soft


def masked_mean(values, weights):
    """Returns sum(values * weights) / sum(weights), and 0 where no weight is set."""
    weights = weights.astype(jnp.float32)
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)
