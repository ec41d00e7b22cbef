"""Image-text matching in a training step: passes through the fusion encoder, negatives, loss.

Letters: G batch, T texts per image in one pass, N image tokens, L text tokens, D width, R rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from jaxvl.losses import itm
from jaxvl.losses.contrastive import belong
from jaxvl.methods.context import Context
from jaxvl.methods.contrast import Similarity, ids_of
from jaxvl.methods.encoders import Encoded
from jaxvl.models import fusion
from jaxvl.ops.arrays import masked_mean
from jaxvl.ops.rng import stream
from jaxvl.types import MATCH, Metrics, Model, Params, Slots


class Pairs(NamedTuple):
    """G pairs of an image and a text for the fusion encoder."""

    image_keys: fusion.ImageKeys
    t_GxLxD: jax.Array
    mask_GxL: jax.Array
    keep_GxN: jax.Array | None = None  # factor of each image token; None attenuates nothing


class Negatives(NamedTuple):
    """Pairs that do not match."""

    pairs: list[Pairs]  # the first has the wrong text of each image
    weight_R: jax.Array  # of all their rows: 1, or 0 where there was nothing to draw
    text_G: jax.Array  # the row of the batch that the wrong text of each image comes from


def fuse_together(
    model: Model, params: Params, pairs: Sequence[Pairs], key: jax.Array | None, *, first_only: bool
) -> list[jax.Array]:
    """Returns the fused states of each of the Pairs, computed in a single pass.

    A single pass compiles faster than several. first_only: return the states of the first token
    alone, [G, 1, D], which are all that matching reads.
    """
    sets = {id(one.image_keys): one.image_keys for one in pairs}
    parts = tuple(list(sets).index(id(one.image_keys)) for one in pairs)
    keep = None
    if any(one.keep_GxN is not None for one in pairs):
        keep = fusion.interleaved([_keep(one) for one in pairs])
    states, _ = model.fuse(
        params,
        fusion.Shared(tuple(sets.values()), parts),
        fusion.interleaved([one.t_GxLxD for one in pairs]),
        fusion.interleaved([one.mask_GxL for one in pairs]),
        key=key,
        keep_GxN=keep,
        probe=None,
        layer=None,
        first_only=first_only,
    )
    states_GxTxLxD = states.reshape(-1, len(pairs), *states.shape[1:])
    return [states_GxTxLxD[:, part] for part in range(len(pairs))]


def _keep(pairs: Pairs) -> jax.Array:
    if pairs.keep_GxN is not None:
        return pairs.keep_GxN
    return jnp.ones((pairs.t_GxLxD.shape[0], pairs.image_keys.keys.shape[2]))


def draw_negatives(
    context: Context,
    online: Encoded,
    image_keys: fusion.ImageKeys,
    similarity: Similarity,
    *,
    hardness: jax.Array | float,
) -> Negatives:
    """Returns 2 G negatives: each image with a wrong text, and each text with a wrong image.

    They are drawn from the softmax of the similarities times `hardness`. image_keys: of the images
    of the batch.
    """
    config, batch = context.config, context.batch
    ids_Gx2 = ids_of(config, batch)
    blocks = itm.blocks_of(len(ids_Gx2), config.loss.itm_negative_blocks)
    same_GxG = belong(ids_Gx2, ids_Gx2)
    logits_i2t, logits_t2i = lax.stop_gradient(similarity)

    def draw(name: str, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = stream(context.key, name)
        return itm.draw_negatives(key, logits, same_GxG, hardness=hardness, blocks=blocks)

    def take(x: jax.Array, index_G: jax.Array) -> jax.Array:
        return itm.take_rows(x, index_G, blocks=blocks)

    text_G, text_found_G = draw("itm_text", logits_i2t)
    image_G, image_found_G = draw("itm_image", logits_t2i)
    mask = batch["token_mask"]
    wrong_text = Pairs(image_keys, take(online.t_GxLxD, text_G), take(mask, text_G))
    if config.loss.itm_reuse_keys:
        wrong_keys = jax.tree.map(jax.vmap(lambda x: take(x, image_G)), image_keys)
    else:
        wrong_keys = context.model.image_keys(context.params, take(online.v_GxNxD, image_G))
    wrong_image = Pairs(wrong_keys, online.t_GxLxD, mask)
    weight_R = jnp.concatenate([text_found_G, image_found_G]).astype(jnp.float32)
    return Negatives([wrong_text, wrong_image], weight_R, text_G)


def matching_loss(
    positive_Gx2: jax.Array, negative_Rx2: jax.Array, weight_R: jax.Array
) -> jax.Array:
    """Returns the mean cross-entropy of the positives and of the negatives that exist."""
    values = [itm.cross_entropy(positive_Gx2, MATCH), itm.cross_entropy(negative_Rx2, 1 - MATCH)]
    weights = jnp.concatenate([jnp.ones(positive_Gx2.shape[0]), weight_R])
    return masked_mean(jnp.concatenate(values), weights)


def matching_accuracy(
    positive_Gx2: jax.Array, negative_Rx2: jax.Array, weight_R: jax.Array
) -> jax.Array:
    """Returns the share of the positives and of the existing negatives that are judged right."""
    right_G = (positive_Gx2.argmax(-1) == MATCH).astype(jnp.float32)
    wrong_R = (negative_Rx2.argmax(-1) != MATCH).astype(jnp.float32)
    weights = jnp.concatenate([jnp.ones_like(right_G), weight_R])
    return masked_mean(jnp.concatenate([right_G, wrong_R]), weights)


def first_hardness(config: ConfigDict) -> Slots:
    """Returns the slot of the hardness of negatives; {} if nothing moves it."""
    if not config.loss.itm_auto_hardness:
        return {}
    return {"hardness": jnp.asarray(config.loss.itm_hardness, jnp.float32)}


def hardness_of(config: ConfigDict, slots: Slots) -> jax.Array | float:
    """Returns the hardness with which the negatives of this step are drawn."""
    return slots.get("hardness", config.loss.itm_hardness)


def adapt_hardness(config: ConfigDict, slots: Slots, accuracy: jax.Array) -> tuple[Slots, Metrics]:
    """Returns (the slot of the next step, metrics); both are {} if nothing moves the hardness.

    Above `loss.itm_auto_band` the negatives are too easy, and the hardness grows; below the band it
    falls. It stays between 0, an even draw, and 1, ALBEF's. accuracy: of matching, in this step.
    """
    if "hardness" not in slots:
        return {}, {}
    low, high = config.loss.itm_auto_band
    outside = jnp.maximum(accuracy - high, 0) - jnp.maximum(low - accuracy, 0)
    moved = jnp.clip(slots["hardness"] + config.loss.itm_auto_rate * outside, 0.0, 1.0)
    return {"hardness": lax.stop_gradient(moved)}, {"itm/hardness": slots["hardness"]}
