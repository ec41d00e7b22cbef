"""CLIP (Radford et al. 2021) with its symmetric contrastive loss.

Letters: G batch, K hard negatives of a caption, T texts of an image, L text tokens, R = G * T rows,
E embedding.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxvl.errors import require_model
from jaxvl.losses import contrastive, make_contrast
from jaxvl.methods.contrast import ids_of
from jaxvl.types import Batch, Component, Method, Metrics, Model, Params, Slots

LOGIT_SCALE_RANGE = (0.0, math.log(100))


class Embeddings(NamedTuple):
    """Unit embeddings of a batch."""

    zi_GxE: jax.Array
    zt_GxE: jax.Array
    zn_GxKxE: jax.Array  # K is 0 if the hard negatives are not used
    second_zi_GxE: jax.Array | None = None  # None if the second view is not used
    second_zt_GxE: jax.Array | None = None


def make(config: ConfigDict, model: Model, *, steps_per_epoch: int) -> Method:
    """Returns the Method; nothing in it is counted in epochs."""
    del steps_per_epoch
    contrast_rows = make_contrast(config)

    def forward(params: Params, slots: Slots, batch: Batch, *, step: jax.Array, key: jax.Array):
        del step, key  # nothing is drawn
        z = encode(model, params, batch, negatives=False)
        ids_Gx2 = ids_of(config, batch)
        captions = contrastive.batch_keys(z.zt_GxE, ids_Gx2)
        loss = itc(contrast_rows, params, z, ids_Gx2, captions)
        return loss, ({"loss/itc": loss, **report(params, z)}, slots)

    return Method(
        init_slots=lambda params: {},
        forward=forward,
        project=clip_logit_scale,
        slot_rules=(),
    )


def encode(
    model: Model, params: Params, batch: Batch, *, negatives: bool, second: bool = False
) -> Embeddings:
    """Returns the Embeddings of a batch; all its texts are encoded in one call.

    negatives: embed the hard negatives too. second: embed the second caption and the second crop of
    each image too.
    """
    names = ("token", "second") if second else ("token",)

    def of_image(field: str) -> jax.Array:
        """Returns [G, T, L]: the texts of an image are adjacent, so no row changes its device."""
        parts = [batch[f"{name}_{field}"][:, None] for name in names]
        parts += [batch[f"negative_{field}"]] if negatives else []
        return jnp.concatenate(parts, axis=1)

    ids, mask = of_image("ids"), of_image("mask")
    rows, texts, length = ids.shape
    ids_RxL, mask_RxL = (x.reshape(rows * texts, length) for x in (ids, mask))
    t_RxLxD = model.encode_text(params, ids_RxL, mask_RxL, key=None)
    z_GxTxE = model.project_text(params, t_RxLxD, ids_RxL).reshape(rows, texts, -1)

    def image(name: str) -> jax.Array:
        return model.project_image(params, model.encode_image(params, batch[name]))

    return Embeddings(
        image("image"),
        z_GxTxE[:, 0],
        z_GxTxE[:, len(names) :],
        *((image("second_image"), z_GxTxE[:, 1]) if second else ()),
    )


def itc(
    contrast_rows: Callable[..., jax.Array],
    params: Params,
    z: Embeddings,
    ids_Gx2: jax.Array,
    texts: contrastive.Keys,
) -> jax.Array:
    """Returns the mean of both directions' contrastive losses over the whole batch.

    All captions that belong to an image are its positives and share the target, and so do all
    images of a caption. contrast_rows: of `make_contrast`. texts: the keys of the images.
    """
    scale = jnp.exp(params["logit_scale"])

    def direction(z_GxE: jax.Array, keys: contrastive.Keys) -> jax.Array:
        return contrast_rows(params, z_GxE, ids_Gx2, keys, scale).mean()

    images = contrastive.batch_keys(z.zi_GxE, ids_Gx2)
    return (direction(z.zi_GxE, texts) + direction(z.zt_GxE, images)) / 2


def clip_logit_scale(params: Params) -> Params:
    """Returns the parameters with the logit scale inside its range."""
    return {**params, "logit_scale": jnp.clip(params["logit_scale"], *LOGIT_SCALE_RANGE)}


def report(params: Params, z: Embeddings) -> Metrics:
    """Returns the metrics that every method of this model logs."""
    return {
        "cosine/true": (z.zi_GxE * z.zt_GxE).sum(-1).mean(),
        "logit_scale": params["logit_scale"],
    }


CLIP = Component(make, check=lambda config: require_model(config, "clip"))
