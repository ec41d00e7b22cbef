"""Losses of captions that are almost right (methods.md 5: NegCLIP, CE-CLIP, AHNPL).

Letters: G batch, K hard negatives a caption, one a type, E embedding. `valid_GxK` is False where a
caption has no negative of a type. S is a logit, cosine / temperature; everything else is a cosine.
The embeddings have unit length.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.losses import contrastive
from jaxvl.losses.contrastive import ABSENT


def own(z_GxE, zn_GxKxE):
    """Returns [G, K]: the cosine of each row with its own K."""
    return jnp.einsum("GE,GKE->GK", z_GxE, zn_GxKxE)


def text_keys(zt_GxE, zn_GxKxE, image_id_G, valid_GxK):
    """Returns the Keys of image -> text: all captions and all valid negatives of the batch."""
    none_M = jnp.full((valid_GxK.size,), -1, image_id_G.dtype)
    return contrastive.Keys(
        jnp.concatenate([zt_GxE, zn_GxKxE.reshape(-1, zn_GxKxE.shape[-1])]),
        jnp.concatenate([image_id_G, none_M]),
        jnp.concatenate([jnp.ones(image_id_G.shape, bool), valid_GxK.reshape(-1)]),
    )


def perturb(zi_GxE, zt_GxE, zn_GxKxE, *, scale, normalise):
    """Returns [G, K, E]: each picture moved as its caption is moved by a negative (AHNPL).

    The displacement carries no gradient. normalise: back to unit length; not so in the release.
    """
    moved_GxKxE = zi_GxE[:, None] + scale * lax.stop_gradient(zn_GxKxE - zt_GxE[:, None])
    if not normalise:
        return moved_GxKxE
    return moved_GxKxE * lax.rsqrt(jnp.maximum((moved_GxKxE**2).sum(-1, keepdims=True), 1e-12))


def multimodal(positive_G, negative_GxK, valid_GxK, weight_GxK):
    """Returns [G]: -log e^P / (e^P + sum_k w e^S_k) over the valid negatives (L_T, L_V).

    positive_G: the similarity of the positive, S(image, caption) or that of another view of the
    same. A row without negatives has loss 0.
    """
    exists_GxK = valid_GxK & (weight_GxK > 0)
    log_weight_GxK = jnp.log(jnp.where(exists_GxK, weight_GxK, 1.0))
    logits_GxK = jnp.where(exists_GxK, negative_GxK + log_weight_GxK, ABSENT)
    return _first(jnp.concatenate([positive_G[:, None], logits_GxK], axis=1))


def released_multimodal(z_GxE, zn_GxKxE, scale, *, chunk):
    """Returns [G], AHNPL's released form: row i is told to match negative number i of the batch.

    All negatives of the batch are in the softmax, valid or not, and no positive is. For L_T of the
    captions and theirs, for L_V of the pictures and the perturbed ones, not normalised.
    """
    zn_MxE = zn_GxKxE.reshape(-1, zn_GxKxE.shape[-1])
    keys = contrastive.Keys(zn_MxE, jnp.arange(len(zn_MxE)), jnp.ones(len(zn_MxE), bool))
    return contrastive.itc(
        z_GxE, jnp.arange(len(z_GxE)), keys, scale, twin=None, gamma=0, focal_on="all", chunk=chunk
    )


def intra_modal(positive_G, zt_GxE, zn_GxKxE, valid_GxK, scale, *, chunk):
    """Returns [G]: -log e^P / (e^P + sum_jk e^S(caption, N_jk)) over the batch (CE-CLIP's IMC)."""
    zn_MxE, valid_M = zn_GxKxE.reshape(-1, zn_GxKxE.shape[-1]), valid_GxK.reshape(-1)
    lse_G = contrastive.log_sum_exp(zt_GxE, zn_MxE, valid_M, scale, chunk=chunk or len(zn_MxE))
    return _first(jnp.stack([positive_G, lse_G], axis=1))


def _first(logits_GxM):
    return -jax.nn.log_softmax(logits_GxM)[:, 0]


def hinge(positive_G, negative_GxK, valid_GxK, margin_K):
    """Returns [G, K]: max(0, S_k - P + margin of the type), 0 where invalid (DMCL; CE-CLIP's CMR).

    Active where positive; what it is divided by is left to the caller.
    """
    short_GxK = negative_GxK - positive_G[:, None] + margin_K[None]
    return jnp.where(valid_GxK, jnp.maximum(short_GxK, 0.0), 0.0)


def next_margins(margin_K, positive_G, negative_GxK, valid_GxK, *, limit, as_released):
    """Returns [K]: the margins of the next step, mean P - mean S_k in [0, limit]; no gradient.

    A type that the whole batch lacks keeps its margin; as released it takes the mean of P.
    """
    count_K = valid_GxK.sum(0)
    sum_K = jnp.where(valid_GxK, negative_GxK, 0.0).sum(0)
    gap_K = positive_G.mean() - sum_K / jnp.maximum(count_K, 1)
    next_K = jnp.clip(gap_K, 0.0, limit)
    kept_K = next_K if as_released else jnp.where(count_K > 0, next_K, margin_K)
    return lax.stop_gradient(kept_K)


def alignment(cosine_G, target):
    """Returns [G]: max(0, target - cosine of picture and caption) (AHNPL's L_pos)."""
    return jnp.maximum(target - cosine_G, 0.0)


def adaptive_weights(difficulty_GxK, valid_GxK, *, beta, cap):
    """Returns ([G, K] weights proportional to exp(beta * difficulty), share of them at the cap).

    Their mean over a row's valid negatives is 1 before the cap; 0 where invalid; no gradient.
    beta 0: all 1. The more a negative outranks the truth, the more it counts.
    """
    logits_GxK = jnp.where(valid_GxK, beta * lax.stop_gradient(difficulty_GxK), ABSENT)
    raw_GxK = jnp.exp(logits_GxK - logits_GxK.max(-1, keepdims=True, initial=ABSENT))
    raw_GxK = jnp.where(valid_GxK, raw_GxK, 0.0)
    count_Gx1 = jnp.maximum(valid_GxK.sum(-1, keepdims=True), 1)
    mean_Gx1 = raw_GxK.sum(-1, keepdims=True) / count_Gx1
    weight_GxK = raw_GxK / jnp.where(mean_Gx1 > 0, mean_Gx1, 1.0)
    at_cap = (weight_GxK > cap).sum() / jnp.maximum(valid_GxK.sum(), 1)
    return jnp.minimum(weight_GxK, cap), at_cap


def effective_share(weight_GxK, valid_GxK, *, axis):
    """Returns (sum w)^2 / (n sum w^2), Kish's effective sample size over the n valid: 1 if equal.

    axis: summed over; None for all. 1 where there is none.
    """
    count = valid_GxK.sum(axis)
    squares = count * (weight_GxK**2).sum(axis)
    return jnp.where(count > 0, weight_GxK.sum(axis) ** 2 / jnp.where(count > 0, squares, 1.0), 1.0)


def mean_by_type(values_GxK, valid_GxK):
    """Returns [K]: the mean over the valid rows of each type, 0 where there is none."""
    total_K = jnp.where(valid_GxK, values_GxK, 0.0).sum(0)
    return total_K / jnp.maximum(valid_GxK.sum(0), 1)
