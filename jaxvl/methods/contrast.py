"""The contrastive loss of ALBEF and its keys: momentum features of the batch and of two queues.

Letters: G batch, Q length of a queue, M = G + Q keys, E embedding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.losses import contrastive
from jaxvl.methods.context import Context
from jaxvl.methods.encoders import Encoded, EncodedBatch

# image, text: features [Q, E]. image_id: [Q], -1 in an empty place. position: of the next batch.
Queue = dict[str, jax.Array]
Similarity = tuple[jax.Array, jax.Array]  # logits [G, G] of image to text, and of text to image


def empty_queue(size: int, embed_size: int) -> Queue | None:
    """Returns the queues of image and text features, empty; None if the size is 0."""
    if size == 0:
        return None
    return {
        "image": jnp.zeros((size, embed_size)),
        "text": jnp.zeros((size, embed_size)),
        "image_id": jnp.full((size,), -1, jnp.int32),
        "position": jnp.zeros((), jnp.int32),
    }


def enqueue(queue: Queue | None, momentum: Encoded, image_id_G: jax.Array) -> Queue | None:
    """Returns the queues with the momentum features of this batch in place of the oldest ones."""
    if queue is None:
        return None
    size, rows = queue["image_id"].shape[0], image_id_G.shape[0]

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return lax.dynamic_update_slice_in_dim(
            old, lax.stop_gradient(new), queue["position"], axis=0
        )

    return {
        "image": put(queue["image"], momentum.zi_GxE),
        "text": put(queue["text"], momentum.zt_GxE),
        "image_id": put(queue["image_id"], image_id_G),
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
    image_id_G, scale = context.batch["image_id"], 1 / context.params["temperature"]
    online, momentum = encoded.online, encoded.momentum
    if queue is None:
        nothing = {"image": momentum.zi_GxE[:0], "text": momentum.zt_GxE[:0]}
        queue = {**nothing, "image_id": image_id_G[:0]}
    key_ids_M = jnp.concatenate([image_id_G, queue["image_id"]])

    def direction(z_GxE, momentum_z_GxE, key_z_GxE, queued_QxE, negatives=None):
        z_MxE = jnp.concatenate([key_z_GxE, queued_QxE])
        keys = contrastive.Keys(z_MxE, key_ids_M, key_ids_M >= 0)
        if negatives is not None:
            keys = contrastive.joined(keys, negatives)
        loss_G = contrast_rows(
            context.params,
            z_GxE,
            image_id_G,
            lax.stop_gradient(keys),
            scale,
            momentum=contrastive.Momentum(momentum_z_GxE, encoded.distill),
            **focal,
        )
        return loss_G.mean(), scale * (z_GxE @ key_z_GxE.T)

    to_text, logits_i2t = direction(
        online.zi_GxE, momentum.zi_GxE, momentum.zt_GxE, queue["text"], negatives
    )
    to_image, logits_t2i = direction(
        online.zt_GxE, momentum.zt_GxE, momentum.zi_GxE, queue["image"]
    )
    return (to_text + to_image) / 2, (logits_i2t, logits_t2i)
