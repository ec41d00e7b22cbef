"""Masked language modelling in a training step. Letters: G batch, L text tokens, V vocabulary."""

import jax
from jax import lax

from jaxvl.losses import mlm
from jaxvl.methods.context import Context
from jaxvl.methods.encoders import EncodedBatch
from jaxvl.methods.matching import Pairs, fuse_together
from jaxvl.ops.arrays import masked_mean
from jaxvl.ops.rng import stream


def words_loss(context: Context, encoded: EncodedBatch, states_GxLxD: jax.Array) -> jax.Array:
    """Returns the mean loss of the hidden tokens.

    states_GxLxD: of the captions with hidden words, after the fusion encoder.
    """
    logits = context.model.word_logits(context.params, states_GxLxD)
    soft = _momentum_logits(context, encoded)
    values_GxL = mlm.masked_words(
        logits, context.batch["token_ids"], lax.stop_gradient(soft), distill=encoded.distill
    )
    return masked_mean(values_GxL, encoded.corrupted.hidden_GxL)


def _momentum_logits(context: Context, encoded: EncodedBatch) -> jax.Array | None:
    """Returns [G, L, V]: the logits of the momentum encoders; None if nothing is distilled."""
    if context.config.momentum.distill == 0:
        return None
    model, params = context.model, encoded.momentum_params
    image_keys = model.image_keys(params, encoded.momentum.v_GxNxD)
    pairs = Pairs(image_keys, encoded.momentum.words_GxLxD, context.batch["token_mask"])
    key = stream(context.key, "twin_words")
    (states,) = fuse_together(model, params, [pairs], key, first_only=False)
    return model.word_logits(params, states)
