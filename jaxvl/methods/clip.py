"""CLIP (Radford et al. 2021) fine-tuned on its own loss: pictures and captions told apart.

Letters: G batch, K hard negatives a caption, L text tokens, E embedding.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvl.errors import require_model
from jaxvl.losses import contrastive, make_contrast
from jaxvl.types import Component, Method

LOGIT_SCALE_RANGE = (0.0, math.log(100))


class Embeddings(NamedTuple):
    """Unit embeddings of a batch; None where no negatives, or no second view, were asked for."""

    zi_GxE: jax.Array
    zt_GxE: jax.Array
    zn_GxKxE: jax.Array | None
    second_zi_GxE: jax.Array | None = None
    second_zt_GxE: jax.Array | None = None


def make(config, model, *, steps_per_epoch):
    """Returns the Method; nothing in it is counted in epochs."""
    del steps_per_epoch
    contrast_rows = make_contrast(config)

    def forward(params, slots, batch, *, step, key):
        del step, key  # nothing is drawn
        z = encode(model, params, batch, negatives=False)
        texts = keys(z.zt_GxE, batch["image_id"])
        loss = itc(contrast_rows, params, z, batch["image_id"], texts)
        return loss, ({"loss/itc": loss, **report(params, z)}, slots)

    return Method(
        init_slots=lambda params: {},
        forward=forward,
        project=clip_logit_scale,
        slot_rules=(),
    )


def encode(model, params, batch, *, negatives, second=False):
    """Returns the Embeddings of a batch; captions and their negatives go through in one call.

    second: those of another caption and another view of each picture too.
    """
    # Beside their caption and not behind all captions: no row leaves its device.
    ids, mask = (
        jnp.concatenate(
            [batch[f"token_{name}"][:, None]]
            + ([batch[f"second_{name}"][:, None]] if second else [])
            + ([batch[f"negative_{name}"]] if negatives else []),
            axis=1,
        )
        for name in ("ids", "mask")
    )
    rows, texts, length = ids.shape
    ids_RxL, mask_RxL = (x.reshape(rows * texts, length) for x in (ids, mask))
    t_RxLxD = model.encode_text(params, ids_RxL, mask_RxL, key=None)
    z_GxTxE = model.project_text(params, t_RxLxD, ids_RxL).reshape(rows, texts, -1)

    def picture(name):
        return model.project_image(params, model.encode_image(params, batch[name]))

    return Embeddings(
        picture("image"),
        z_GxTxE[:, 0],
        z_GxTxE[:, 1 + second :] if negatives else None,
        *((picture("second_image"), z_GxTxE[:, 1]) if second else ()),
    )


def keys(z_GxE, image_id_G):
    """Returns the batch's embeddings as what the other side is told from."""
    return contrastive.Keys(z_GxE, image_id_G, jnp.ones(image_id_G.shape, bool))


def itc(contrast_rows, params, z, image_id_G, texts):
    """Returns the mean of both directions' contrastive losses over the whole batch.

    All captions of an image are positives and share the target, as do all images of a caption.
    contrast_rows: of make_contrast. texts: the Keys of the images.
    """
    scale = jnp.exp(params["logit_scale"])

    def direction(z_GxE, others):
        return contrast_rows(params, z_GxE, image_id_G, others, scale).mean()

    return (direction(z.zi_GxE, texts) + direction(z.zt_GxE, keys(z.zi_GxE, image_id_G))) / 2


def clip_logit_scale(params):
    """Returns the parameters with the logit scale inside its range."""
    return {**params, "logit_scale": jnp.clip(params["logit_scale"], *LOGIT_SCALE_RANGE)}


def report(params, z):
    """Returns the metrics that every method of this model logs."""
    return {
        "cosine/true": (z.zi_GxE * z.zt_GxE).sum(-1).mean(),
        "logit_scale": params["logit_scale"],
    }


CLIP = Component(make, check=lambda config: require_model(config, "clip"))
