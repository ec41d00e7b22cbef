"""The online and the momentum encoders of ALBEF, and their outputs for a batch.

Letters: G batch, N image tokens, L text tokens, R rows, D width, E embedding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from jaxvl.losses import mlm
from jaxvl.methods.context import Context
from jaxvl.ops.rng import stream
from jaxvl.types import Batch, Model, Params

# The parts of the parameters that have a momentum copy.
MOMENTUM_PARTS = ("image", "text", "fusion", "word_head", "image_projection", "text_projection")


class Encoded(NamedTuple):
    """The outputs of the image and the text encoder for a batch."""

    v_GxNxD: jax.Array
    t_GxLxD: jax.Array  # of the captions that contrast and matching read
    words_GxLxD: jax.Array  # of the captions with hidden words; equal if those are read everywhere
    zi_GxE: jax.Array
    zt_GxE: jax.Array


class EncodedBatch(NamedTuple):
    """The outputs of the online and of the momentum encoders for a batch."""

    online: Encoded
    momentum: Encoded
    momentum_params: Params  # of the momentum encoders, after their update
    distill: jax.Array  # share of their predictions in the targets
    corrupted: mlm.Corrupted  # the captions with hidden words
    ids_GxL: jax.Array  # token ids of the captions that contrast and matching read


def encode_batch(
    context: Context, momentum_params: Params, *, steps_per_epoch: int, corrupt_all: bool
) -> EncodedBatch:
    """Returns the EncodedBatch; the momentum encoders are updated first.

    momentum_params: before the update. corrupt_all: contrast and matching read the captions with
    hidden words too; the texts are then encoded once and not twice.
    """
    config, model, batch, key = context.config, context.model, context.batch, context.key
    momentum_params = update_momentum(momentum_params, context.params, decay=config.momentum.decay)
    distill = distill_weight(config, context.step, steps_per_epoch)
    corrupted = corrupt(context, batch["token_ids"], batch["word_ids"] >= 0, name="mlm")
    texts = (corrupted.ids_GxL,)
    if not corrupt_all:
        texts = (batch["token_ids"], corrupted.ids_GxL)
    online = encode(model, context.params, batch, texts, key=stream(key, "online"))
    momentum = encode(model, momentum_params, batch, texts, key=stream(key, "twin"))
    return EncodedBatch(online, momentum, momentum_params, distill, corrupted, texts[0])


def corrupt(
    context: Context, ids_RxL: jax.Array, maskable_RxL: jax.Array, *, name: str
) -> mlm.Corrupted:
    """Returns the texts with words hidden; `name` is the stream of the draw."""
    return mlm.corrupt(
        stream(context.key, name),
        ids_RxL,
        maskable_RxL,
        probability=context.config.loss.mask_probability,
        mask_token=context.config.model.text.mask_token,
        vocabulary_size=context.config.model.text.vocabulary_size,
    )


def update_momentum(momentum_params: Params, params: Params, *, decay: float) -> Params:
    """Returns the momentum parameters moved towards the parameters; no gradient flows."""
    online = lax.stop_gradient({name: params[name] for name in MOMENTUM_PARTS})
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, momentum_params, online)


def distill_weight(config: ConfigDict, step: jax.Array | int, steps_per_epoch: int) -> jax.Array:
    """Returns the share of the momentum encoders in the targets: it grows linearly from 0.

    The ramp takes the first `momentum.distill_ramp_epochs` epochs.
    """
    ramp_steps = config.momentum.distill_ramp_epochs * steps_per_epoch
    return config.momentum.distill * jnp.minimum(1.0, step / max(ramp_steps, 1))


def encode(
    model: Model,
    params: Params,
    batch: Batch,
    texts: tuple[jax.Array, ...],
    *,
    key: jax.Array | None,
) -> Encoded:
    """Returns the images and texts of a batch, encoded with these parameters.

    texts: token ids of the captions, (ids_GxL,) or (ids_GxL, corrupted ids_GxL), which are encoded
    in one call. key: for dropout, or None.
    """
    rows = batch["image"].shape[0]
    ids_RxL = jnp.concatenate(texts)
    mask_RxL = jnp.concatenate([batch["token_mask"]] * len(texts))
    v = model.encode_image(params, batch["image"])
    t = model.encode_text(params, ids_RxL, mask_RxL, key=key)
    zi, zt = model.project_image(params, v), model.project_text(params, t[:rows], texts[0])
    return Encoded(v, t[:rows], t[-rows:], zi, zt)
