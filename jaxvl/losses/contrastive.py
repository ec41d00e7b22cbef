"""The softmax contrastive loss of images and texts: plain, focal, with soft targets, in chunks.

In chunks, the whole matrix of logits is never in memory. A first pass accumulates the log-sum-exp
of each row over the chunks, a second pass accumulates each chunk's part of the loss, and the
backward pass recomputes the logits of a chunk. Memory grows with R * chunk, not with R * M.

Letters: R rows (G rows of a batch), M keys (of the batch, then of a queue or of hard negatives),
C keys of a chunk, n chunks, E embedding, K hard negatives of a caption.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.losses.chunks import chunked_log_sum_exp, in_chunks, logits
from jaxvl.types import ContrastiveLoss

NO_ID = -1  # of a hard negative, which belongs to no image; and where captions are not compared


class Keys(NamedTuple):
    """What a row is compared with."""

    z_MxE: jax.Array
    ids_Mx2: jax.Array  # the image and the caption of a key, as numbers; NO_ID for none
    exists_M: jax.Array


class Momentum(NamedTuple):
    """The momentum encoder's prediction for the rows, as soft targets."""

    z_RxE: jax.Array  # its embeddings of the rows
    share: jax.Array | float  # of its prediction in the targets


def pair_ids(image_id: jax.Array, caption_id: jax.Array | None = None) -> jax.Array:
    """Returns [..., 2]: both ids of each pair. caption_id: None where captions are not compared."""
    if caption_id is None:
        caption_id = jnp.full_like(image_id, NO_ID)
    return jnp.stack([image_id, caption_id], axis=-1)


def belong(ids_Rx2: jax.Array, ids_Mx2: jax.Array) -> jax.Array:
    """Returns bool [R, M]: True where a row and a key have the image or the caption in common."""
    return ((ids_Rx2[:, None] == ids_Mx2[None]) & (ids_Rx2 != NO_ID)[:, None]).any(-1)


def batch_keys(z_GxE: jax.Array, ids_Gx2: jax.Array) -> Keys:
    """Returns the embeddings of a batch as Keys."""
    return Keys(z_GxE, ids_Gx2, jnp.ones(len(ids_Gx2), bool))


def negative_keys(zn_GxKxE: jax.Array, caption_id_GxK: jax.Array, valid_GxK: jax.Array) -> Keys:
    """Returns the embeddings of hard negatives as Keys, which belong to no image.

    caption_id_GxK: of the negatives. A row with this very caption is not taught that it is false.
    """
    ids_GxKx2 = pair_ids(jnp.full_like(caption_id_GxK, NO_ID), caption_id_GxK)
    return Keys(
        zn_GxKxE.reshape(-1, zn_GxKxE.shape[-1]), ids_GxKx2.reshape(-1, 2), valid_GxK.reshape(-1)
    )


def joined(*keys: Keys) -> Keys:
    """Returns the Keys of all, one after the other."""
    return Keys(*(_whole(parts) for parts in zip(*keys)))


def _whole(parts: Sequence[jax.Array]) -> jax.Array:
    """Returns jnp.concatenate(parts), whole on every device, since each row meets every key.

    The compiler spreads a concatenation over the devices and then sends all of it to each: a queue
    too, of which each has a copy. What is written into an array of zeros is sent alone.
    """
    whole = jnp.zeros((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    start = 0
    for part in parts:
        whole = lax.dynamic_update_slice_in_dim(whole, part, start, axis=0)
        start += len(part)
    return whole


def itc(
    z_RxE: jax.Array,
    ids_Rx2: jax.Array,
    keys: Keys,
    scale: jax.Array | float,
    *,
    momentum: Momentum | None,
    gamma: float,
    focal_on: str,
    chunk: int,
) -> jax.Array:
    """Returns float32 [R]: the contrastive loss of each row.

    A row's positives are the keys that `belong` to it; there must be at least one. Hard negatives
    are keys in the softmax and never a target of the momentum encoder's prediction.

    z_RxE, keys: unit embeddings. scale: 1 / temperature. momentum: soft targets, or None. gamma,
    focal_on: as in `focal_itc`. chunk: keys at a time, so that [R, M] is never in memory; 0: all.
    """
    if chunk:
        return _itc_in_chunks(
            z_RxE,
            ids_Rx2,
            keys,
            scale,
            momentum=momentum,
            gamma=gamma,
            focal_on=focal_on,
            chunk=chunk,
        )
    true_M = keys.exists_M & (keys.ids_Mx2[:, 0] != NO_ID)
    same_RxM = belong(ids_Rx2, keys.ids_Mx2) & keys.exists_M[None]
    logits_RxM = logits(z_RxE, keys.z_MxE, keys.exists_M, scale)
    if momentum is None:
        targets_RxM = same_RxM / same_RxM.sum(-1, keepdims=True)
    else:
        soft_RxM = logits(momentum.z_RxE, keys.z_MxE, true_M, scale)
        targets_RxM = soft_targets(lax.stop_gradient(soft_RxM), same_RxM, distill=momentum.share)
    return focal_itc(logits_RxM, targets_RxM, gamma=gamma, focal_on=focal_on, same_RxM=same_RxM)


def soft_targets(
    momentum_RxM: jax.Array, same_RxM: jax.Array, *, distill: jax.Array | float
) -> jax.Array:
    """Returns [R, M], distill * softmax(momentum logits) + (1 - distill) * positives.

    same_RxM: True where a key belongs to the row; these keys share the mass of the positives
    equally, which is one-hot if every image and caption is in the batch once. Rows sum to 1.

    Source: Li et al. 2021, eq. 6, and their code for retrieval.
    """
    positives = same_RxM / same_RxM.sum(-1, keepdims=True)
    return distill * jax.nn.softmax(momentum_RxM) + (1 - distill) * positives


def focal_itc(
    logits_RxM: jax.Array,
    targets_RxM: jax.Array,
    *,
    gamma: float,
    focal_on: str,
    same_RxM: jax.Array,
) -> jax.Array:
    """Returns float32 [R]: the focal cross-entropy of each row; gamma = 0 is the plain one.

    logits_RxM: float32. targets_RxM: rows sum to 1. focal_on: "all", each key has the factor
    (1 - p)^gamma of its own; "target", all keys of a row have that of the true class. same_RxM: as
    in `soft_targets`.

    Source: Park and Han 2023; docs/softmask.md, "Focal contrastive loss".
    """
    log_p_RxM = jax.nn.log_softmax(logits_RxM)
    if gamma == 0:
        return -(targets_RxM * log_p_RxM).sum(-1)
    if focal_on == "all":
        focus_RxM = _focus(-jnp.expm1(log_p_RxM), gamma)
        return -(targets_RxM * focus_RxM * log_p_RxM).sum(-1)
    p_true_R = (jnp.exp(log_p_RxM) * same_RxM).sum(-1)
    focus_R = _focus(jnp.maximum(1 - p_true_R, 0.0), gamma)
    return -focus_R * (targets_RxM * log_p_RxM).sum(-1)


def _focus(rest: jax.Array, gamma: float) -> jax.Array:
    """Returns rest^gamma, the focal factor; rest: 1 - p.

    With gamma below 1 the power has an infinite slope at 0, where p was rounded to 1. The loss is
    flat there as a function of the logits, so the factor then carries no gradient.
    """
    if gamma >= 1:
        return rest**gamma
    certain = rest <= 0
    return jnp.where(certain, 0.0, jnp.where(certain, 1.0, rest) ** gamma)


def _itc_in_chunks(
    z_RxE: jax.Array,
    ids_Rx2: jax.Array,
    keys: Keys,
    scale: jax.Array | float,
    *,
    momentum: Momentum | None,
    gamma: float,
    focal_on: str,
    chunk: int,
) -> jax.Array:
    scale = jnp.asarray(scale, jnp.float32)
    z_nxCxE, ids_nxCx2, exists_nxC = in_chunks(chunk, *keys)
    true_nxC = exists_nxC & (ids_nxCx2[..., 0] != NO_ID)
    chunks = (z_nxCxE, ids_nxCx2, exists_nxC, true_nxC)
    lse_R = chunked_log_sum_exp(z_RxE, z_nxCxE, exists_nxC, scale)
    soft = None
    if momentum is not None:
        soft_lse_R = chunked_log_sum_exp(momentum.z_RxE, z_nxCxE, true_nxC, scale)
        soft = (momentum.z_RxE, lax.stop_gradient(soft_lse_R))

    @jax.checkpoint  # the backward pass recomputes the logits of a chunk
    def add(sums, one):
        keys_CxE, ids_Cx2, exists_C, true_C = one
        log_p_RxC = logits(z_RxE, keys_CxE, exists_C, scale) - lse_R[:, None]
        same_RxC = belong(ids_Rx2, ids_Cx2) & exists_C[None]
        factor_RxC = log_p_RxC
        if gamma > 0 and focal_on == "all":
            focus_RxC = _focus(-jnp.expm1(jnp.minimum(log_p_RxC, 0.0)), gamma)
            factor_RxC = focus_RxC * log_p_RxC
        parts = {
            "positive": jnp.where(same_RxC, factor_RxC, 0.0),
            "count": same_RxC.astype(jnp.float32),
            "p_true": jnp.where(same_RxC, jnp.exp(log_p_RxC), 0.0),
        }
        if soft is not None:
            soft_z_RxE, soft_lse_R = soft
            soft_RxC = logits(soft_z_RxE, keys_CxE, true_C, scale) - soft_lse_R[:, None]
            parts["soft"] = lax.stop_gradient(jnp.exp(soft_RxC)) * factor_RxC
        return {name: sums[name] + part.sum(-1) for name, part in parts.items()}, None

    names = ("positive", "count", "p_true") + (("soft",) if soft is not None else ())
    sums, _ = lax.scan(add, {name: jnp.zeros(lse_R.shape) for name in names}, chunks)
    loss_R = -sums["positive"] / sums["count"]
    if momentum is not None:
        loss_R = (1 - momentum.share) * loss_R - momentum.share * sums["soft"]
    if gamma > 0 and focal_on == "target":
        loss_R = _focus(jnp.maximum(1 - sums["p_true"], 0.0), gamma) * loss_R
    return loss_R


def _rows(
    z_RxE: jax.Array,
    ids_Rx2: jax.Array,
    keys: Keys,
    scale: jax.Array | float,
    *,
    learned: dict[str, Any],
    **options: Any,
) -> jax.Array:
    del learned  # this loss has no parameters but the temperature, which belongs to the model
    return itc(z_RxE, ids_Rx2, keys, scale, **options)


SOFTMAX = ContrastiveLoss(_rows)
