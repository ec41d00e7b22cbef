"""The softmax image-text contrastive loss: plain, focal, with soft targets, whole or in chunks.

In chunks, the whole matrix of logits is never in memory. A first pass carries the log-sum-exp of
each row over the chunks, a second adds up each chunk's part of the loss, and the backward pass
computes a chunk's logits again: memory grows with R * chunk, not with R * M.

Letters: G or R rows of a batch, M keys (of the batch, then of a queue or hard negatives), C keys of
a chunk, n chunks, E embedding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.types import ContrastiveLoss

ABSENT = -1e9  # logit of a key that does not exist; finite, so that 0 * log p is 0


class Keys(NamedTuple):
    """What a row is compared with."""

    z_MxE: jax.Array
    image_id_M: jax.Array  # the picture that a key belongs to; -1: known to be false of every one
    exists_M: jax.Array


class Twin(NamedTuple):
    """The momentum twins' view of the rows, and its share in the targets."""

    z_RxE: jax.Array
    share: jax.Array | float


def itc(z_GxE, image_id_G, keys, scale, *, twin, gamma, focal_on, chunk):
    """Contrastive loss of each row: plain, focal, with soft targets, with hard negatives.

    z_GxE, keys: unit embeddings; scale: 1 / temperature. A row's positives are the keys of its own
    picture, of which there is at least one; hard negatives are keys of picture -1, and the twins'
    opinion (`twin`, None for none) is not asked about these. gamma, focal_on: of focal_itc.
    chunk: keys at a time, so that no [G, M] is ever held; 0: all at once.
    Returns float32 [G].
    """
    if chunk:
        return _itc_in_chunks(
            z_GxE, image_id_G, keys, scale, twin=twin, gamma=gamma, focal_on=focal_on, chunk=chunk
        )
    true_M = keys.exists_M & (keys.image_id_M >= 0)
    same_GxM = (image_id_G[:, None] == keys.image_id_M[None]) & true_M[None]
    logits_GxM = jnp.where(keys.exists_M[None], scale * (z_GxE @ keys.z_MxE.T), ABSENT)
    if twin is None:
        targets_GxM = same_GxM / same_GxM.sum(-1, keepdims=True)
    else:
        twin_GxM = jnp.where(true_M[None], scale * (twin.z_RxE @ keys.z_MxE.T), ABSENT)
        targets_GxM = soft_targets(lax.stop_gradient(twin_GxM), same_GxM, distill=twin.share)
    return focal_itc(logits_GxM, targets_GxM, gamma=gamma, focal_on=focal_on, same_GxM=same_GxM)


def soft_targets(twin_logits_GxM, same_GxM, *, distill):
    """Returns rows that sum to 1: distill * softmax(twin logits) + (1 - distill) * positives.

    same_GxM: True where key j shows the same picture as row i; positives share the mass equally
    (one-hot where pictures are unique: Li et al. 2021, eq. 6 and their retrieval code).
    """
    positives = same_GxM / same_GxM.sum(-1, keepdims=True)
    return distill * jax.nn.softmax(twin_logits_GxM) + (1 - distill) * positives


def focal_itc(logits_GxM, targets_GxM, *, gamma, focal_on, same_GxM):
    """Focal image-text contrastive loss of each example (Park & Han 2023; methods.md 3).

    logits_GxM: float32 similarities / temperature over M keys. targets_GxM: rows sum to 1.
    focal_on: "all" keys have their own factor, or every key has that of the true class, "target".
    Returns float32 [G]; gamma = 0 is the plain cross-entropy.
    """
    log_p_GxM = jax.nn.log_softmax(logits_GxM)
    if gamma == 0:
        return -(targets_GxM * log_p_GxM).sum(-1)
    if focal_on == "all":
        focus_GxM = (-jnp.expm1(log_p_GxM)) ** gamma
        return -(targets_GxM * focus_GxM * log_p_GxM).sum(-1)
    p_true_G = (jnp.exp(log_p_GxM) * same_GxM).sum(-1)
    focus_G = jnp.maximum(1 - p_true_G, 0.0) ** gamma
    return -focus_G * (targets_GxM * log_p_GxM).sum(-1)


def log_sum_exp(z_RxE, keys_MxE, exists_M, scale, *, chunk):
    """Returns float32 [R]: log of the sum of exp(scale * z . k) over the keys that exist.

    chunk: keys at a time; it need not divide M. A row without any key has about ABSENT.
    """
    chunks = in_chunks(chunk, keys_MxE, exists_M)
    return _log_sum_exp(z_RxE, *chunks, jnp.asarray(scale, jnp.float32))


@jax.custom_vjp
def _log_sum_exp(z_RxE, keys_nxCxE, exists_nxC, scale):
    def add(carry, one):
        highest_R, sum_R = carry
        logits_RxC = _logits(z_RxE, *one, scale)
        new_R = jnp.maximum(highest_R, logits_RxC.max(-1))
        sum_R = sum_R * jnp.exp(highest_R - new_R) + jnp.exp(logits_RxC - new_R[:, None]).sum(-1)
        return (new_R, sum_R), None

    rows = z_RxE.shape[0]
    nothing = (jnp.full((rows,), ABSENT, jnp.float32), jnp.zeros((rows,)))
    (highest_R, sum_R), _ = lax.scan(add, nothing, (keys_nxCxE, exists_nxC))
    return highest_R + jnp.log(sum_R)


def _forward(z_RxE, keys_nxCxE, exists_nxC, scale):
    lse_R = _log_sum_exp(z_RxE, keys_nxCxE, exists_nxC, scale)
    return lse_R, (z_RxE, keys_nxCxE, exists_nxC, scale, lse_R)


def _backward(kept, cotangent_R):
    """The gradient of a log-sum-exp is the softmax: chunk by chunk from the kept value."""
    z_RxE, keys_nxCxE, exists_nxC, scale, lse_R = kept

    def add(grad_z_RxE, one):
        keys_CxE, exists_C = one
        p_RxC = jnp.exp(_logits(z_RxE, keys_CxE, exists_C, scale) - lse_R[:, None])
        p_RxC = jnp.where(exists_C[None], p_RxC * cotangent_R[:, None], 0.0)
        return grad_z_RxE + p_RxC @ keys_CxE, p_RxC.T @ z_RxE

    pulled_z_RxE, pulled_nxCxE = lax.scan(add, jnp.zeros_like(z_RxE), (keys_nxCxE, exists_nxC))
    grad_scale = (pulled_z_RxE * z_RxE).sum()
    return scale * pulled_z_RxE, scale * pulled_nxCxE, None, grad_scale


_log_sum_exp.defvjp(_forward, _backward)


def _itc_in_chunks(z_RxE, image_id_R, keys, scale, *, twin, gamma, focal_on, chunk):
    """Returns what `itc` returns, in value and in gradient."""
    scale = jnp.asarray(scale, jnp.float32)
    z_nxCxE, image_id_nxC, exists_nxC = in_chunks(chunk, *keys)
    true_nxC = exists_nxC & (image_id_nxC >= 0)
    chunks = (z_nxCxE, image_id_nxC, exists_nxC, true_nxC)
    lse_R = _log_sum_exp(z_RxE, z_nxCxE, exists_nxC, scale)
    twin_lse_R = None
    if twin is not None:
        twin_lse_R = lax.stop_gradient(_log_sum_exp(twin.z_RxE, z_nxCxE, true_nxC, scale))

    @jax.checkpoint
    def add(sums, one):
        keys_CxE, image_id_C, exists_C, true_C = one
        log_p_RxC = _logits(z_RxE, keys_CxE, exists_C, scale) - lse_R[:, None]
        same_RxC = (image_id_R[:, None] == image_id_C[None]) & true_C[None]
        factor_RxC = log_p_RxC
        if gamma > 0 and focal_on == "all":
            factor_RxC = (-jnp.expm1(jnp.minimum(log_p_RxC, 0.0))) ** gamma * log_p_RxC
        parts = {
            "positive": jnp.where(same_RxC, factor_RxC, 0.0),
            "count": same_RxC.astype(jnp.float32),
            "p_true": jnp.where(same_RxC, jnp.exp(log_p_RxC), 0.0),
        }
        if twin is not None:
            twin_RxC = _logits(twin.z_RxE, keys_CxE, true_C, scale) - twin_lse_R[:, None]
            parts["twin"] = lax.stop_gradient(jnp.exp(twin_RxC)) * factor_RxC
        return {name: sums[name] + part.sum(-1) for name, part in parts.items()}, None

    names = ("positive", "count", "p_true") + (("twin",) if twin is not None else ())
    sums, _ = lax.scan(add, {name: jnp.zeros(lse_R.shape) for name in names}, chunks)
    loss_R = -sums["positive"] / sums["count"]
    if twin is not None:
        loss_R = (1 - twin.share) * loss_R - twin.share * sums["twin"]
    if gamma > 0 and focal_on == "target":
        loss_R = jnp.maximum(1 - sums["p_true"], 0.0) ** gamma * loss_R
    return loss_R


def _logits(z_RxE, keys_CxE, exists_C, scale):
    return jnp.where(exists_C[None], scale * (z_RxE @ keys_CxE.T), ABSENT)


def in_chunks(chunk, keys_MxE, *others):
    """Returns the arrays as [n, C, ...], the last chunk filled up with keys that do not exist."""
    chunk = min(chunk, keys_MxE.shape[0])
    missing = -keys_MxE.shape[0] % chunk

    def split(x):
        fill = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
        return fill.reshape(-1, chunk, *x.shape[1:])

    return [split(x) for x in (keys_MxE, *others)]


def _rows(z_RxE, image_id_R, keys, scale, *, learned, **options):
    del learned  # it learns nothing but the temperature, which is the model's
    return itc(z_RxE, image_id_R, keys, scale, **options)


SOFTMAX = ContrastiveLoss(_rows)
