"""The contrastive loss of ALBEF and its keys: momentum features of the batch and of two queues.

Letters: G batch, Q length of a queue, M = G + Q keys, E embedding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from jaxvl.losses import contrastive
from jaxvl.methods.context import Context
from jaxvl.methods.encoders import Encoded, EncodedBatch
from jaxvl.ops.dot import exact
from jaxvl.types import Batch

# image, text: features [Q, E]. ids: [Q, 2], NO_ID in an empty place. position: of the next batch.
Queue = dict[str, jax.Array]
Similarity = tuple[jax.Array, jax.Array]  # logits [G, G] of image to text, and of text to image


def ids_of(config: ConfigDict, batch: Batch) -> jax.Array:
    """Returns [G, 2]: by which `contrastive.belong` knows what belongs together."""
    compared = config.loss.same_caption == "positive"
    return contrastive.pair_ids(batch["image_id"], batch["caption_id"] if compared else None)


def negative_ids_of(config: ConfigDict, batch: Batch) -> jax.Array:
    """Returns [G, K]: the caption ids of the hard negatives, or NO_ID where none are compared."""
    ids_GxK = batch["negative_caption_id"]
    compared = config.loss.same_caption == "positive"
    return ids_GxK if compared else jnp.full_like(ids_GxK, contrastive.NO_ID)


def empty_queue(size: int, embed_size: int) -> Queue | None:
    """Returns the queues of image and text features, empty; None if the size is 0."""
    if size == 0:
        return None
    return {
        "image": jnp.zeros((size, embed_size)),
        "text": jnp.zeros((size, embed_size)),
        "ids": jnp.full((size, 2), contrastive.NO_ID, jnp.int32),
        "position": jnp.zeros((), jnp.int32),
    }


def enqueue(queue: Queue | None, momentum: Encoded, ids_Gx2: jax.Array) -> Queue | None:
    """Returns the queues with the momentum features of this batch in place of the oldest ones."""
    if queue is None:
        return None
    size, rows = len(queue["ids"]), len(ids_Gx2)

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return lax.dynamic_update_slice_in_dim(
            old, lax.stop_gradient(new), queue["position"], axis=0
        )

    return {
        "image": put(queue["image"], momentum.zi_GxE),
        "text": put(queue["text"], momentum.zt_GxE),
        "ids": put(queue["ids"], ids_Gx2),
        "position": (queue["position"] + rows) % size,
    }


def contrast(
    context: Context,
    contrast_rows: Callable[..., jax.Array],
    queue: Queue | None,
    encoded: EncodedBatch,
    *,
    negatives: contrastive.Keys | None = None,
    **focal: Any,
) -> tuple[jax.Array, Similarity]:
    """Returns (the mean loss of both directions, the similarities within the batch).

    Negatives for matching are drawn by these similarities. contrast_rows: of `make_contrast`.
    negatives: hard negatives as more keys for the images. focal: gamma and focal_on of
    `contrastive.itc`; without them the loss is the plain one.
    """
    ids_Gx2 = ids_of(context.config, context.batch)
    scale = 1 / context.params["temperature"]
    online, momentum = encoded.online, encoded.momentum

    def direction(z_GxE, momentum_z_GxE, key_z_GxE, name, negatives=None):
        keys = [contrastive.batch_keys(key_z_GxE, ids_Gx2)]
        if queue is not None:
            filled_Q = queue["ids"][:, 0] != contrastive.NO_ID
            keys.append(contrastive.Keys(queue[name], queue["ids"], filled_Q))
        if negatives is not None:
            keys.append(negatives)
        loss_G = contrast_rows(
            context.params,
            z_GxE,
            ids_Gx2,
            lax.stop_gradient(contrastive.joined(*keys)),
            scale,
            momentum=contrastive.Momentum(momentum_z_GxE, encoded.distill),
            **focal,
        )
        return loss_G.mean(), scale * exact("GE,ME->GM", z_GxE, key_z_GxE)

    to_text, logits_i2t = direction(
        online.zi_GxE, momentum.zi_GxE, momentum.zt_GxE, "text", negatives
    )
    to_image, logits_t2i = direction(online.zt_GxE, momentum.zt_GxE, momentum.zi_GxE, "image")
    return (to_text + to_image) / 2, (logits_i2t, logits_t2i)
