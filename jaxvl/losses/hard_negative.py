"""Losses with hard negatives, captions that are almost right: NegCLIP, CE-CLIP, AHNPL.

The equations are in docs/ahnpl.md. Embeddings have unit length. S and P are logits, which are
cosine / temperature; names with `cosine` are cosines. `valid_GxK` is False where a caption has no
negative of a kind. Letters: G batch, K hard negatives of a caption (one of each kind), E embedding.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.losses import contrastive
from jaxvl.losses.chunks import ABSENT, log_sum_exp
from jaxvl.ops.dot import exact


def own(z_GxE: jax.Array, zn_GxKxE: jax.Array) -> jax.Array:
    """Returns [G, K]: the cosine of each row with each of its own K embeddings."""
    return exact("GE,GKE->GK", z_GxE, zn_GxKxE)


def text_keys(
    zt_GxE: jax.Array,
    zn_GxKxE: jax.Array,
    ids_Gx2: jax.Array,
    caption_id_GxK: jax.Array,
    valid_GxK: jax.Array,
) -> contrastive.Keys:
    """Returns the keys of an image: all captions and all valid negatives of the batch (NegCLIP).

    caption_id_GxK: of the negatives.
    """
    captions = contrastive.batch_keys(zt_GxE, ids_Gx2)
    negatives = contrastive.negative_keys(zn_GxKxE, caption_id_GxK, valid_GxK)
    return contrastive.joined(captions, negatives)


def perturb(
    zi_GxE: jax.Array, zt_GxE: jax.Array, zn_GxKxE: jax.Array, *, scale: float, normalise: bool
) -> jax.Array:
    """Returns [G, K, E]: each image moved by the difference of a negative and its caption (AHNPL).

    The difference carries no gradient. normalise: to unit length; the released code does not.
    """
    moved_GxKxE = zi_GxE[:, None] + scale * lax.stop_gradient(zn_GxKxE - zt_GxE[:, None])
    if not normalise:
        return moved_GxKxE
    return moved_GxKxE * lax.rsqrt(jnp.maximum((moved_GxKxE**2).sum(-1, keepdims=True), 1e-12))


def multimodal(
    positive_G: jax.Array, negative_GxK: jax.Array, valid_GxK: jax.Array, weight_GxK: jax.Array
) -> jax.Array:
    """Returns [G]: -log e^P / (e^P + sum_k w e^S_k) over the valid negatives; L_T or L_V of MHN.

    positive_G: P, the logit of the positive. negative_GxK: S_k. A row without negatives has loss 0.
    """
    exists_GxK = valid_GxK & (weight_GxK > 0)
    log_weight_GxK = jnp.log(jnp.where(exists_GxK, weight_GxK, 1.0))
    logits_GxK = jnp.where(exists_GxK, negative_GxK + log_weight_GxK, ABSENT)
    return _first(jnp.concatenate([positive_G[:, None], logits_GxK], axis=1))


def without_positive(
    z_GxE: jax.Array,
    zn_GxKxE: jax.Array,
    column_G: jax.Array,
    scale: jax.Array | float,
    *,
    chunk: int,
) -> jax.Array:
    """Returns [G]: a contrast that has no true positive, as in the released codes.

    Row i is trained to match negative number `column_G[i]` of the batch. The softmax runs over all
    negatives of the batch, valid or not. In MHN of AHNPL the column is i, and for L_V the negatives
    are images that `perturb` moved without normalising them. In IMC of CE-CLIP the column is 0.
    """
    zn_MxE = zn_GxKxE.reshape(-1, zn_GxKxE.shape[-1])
    keys = contrastive.batch_keys(zn_MxE, contrastive.pair_ids(jnp.arange(len(zn_MxE))))
    return contrastive.itc(
        z_GxE,
        contrastive.pair_ids(column_G),
        keys,
        scale,
        momentum=None,
        gamma=0,
        focal_on="all",
        chunk=chunk,
    )


def intra_modal(
    positive_G: jax.Array,
    zt_GxE: jax.Array,
    zn_GxKxE: jax.Array,
    valid_GxK: jax.Array,
    scale: jax.Array | float,
    *,
    chunk: int,
) -> jax.Array:
    """Returns [G]: -log e^P / (e^P + sum_jk e^S(caption, N_jk)) over the batch.

    This is IMC of CE-CLIP's paper, with P = S(image, caption); `without_positive` is the released
    one.
    """
    zn_MxE, valid_M = zn_GxKxE.reshape(-1, zn_GxKxE.shape[-1]), valid_GxK.reshape(-1)
    lse_G = log_sum_exp(zt_GxE, zn_MxE, valid_M, scale, chunk=chunk or len(zn_MxE))
    return _first(jnp.stack([positive_G, lse_G], axis=1))


def _first(logits_GxM: jax.Array) -> jax.Array:
    return -jax.nn.log_softmax(logits_GxM)[:, 0]


def hinge(
    positive_G: jax.Array, negative_GxK: jax.Array, valid_GxK: jax.Array, margin_K: jax.Array
) -> jax.Array:
    """Returns [G, K]: max(0, S_k - P + margin of the kind); 0 where invalid.

    This is DMCL of AHNPL and CMR of CE-CLIP; the caller takes the mean.
    """
    short_GxK = negative_GxK - positive_G[:, None] + margin_K[None]
    return jnp.where(valid_GxK, jnp.maximum(short_GxK, 0.0), 0.0)


def next_margins(
    margin_K: jax.Array,
    positive_G: jax.Array,
    negative_GxK: jax.Array,
    valid_GxK: jax.Array,
    *,
    limit: float,
    as_released: bool,
) -> jax.Array:
    """Returns [K]: the margins of the next step, mean P - mean S_k clipped to [0, limit].

    They carry no gradient. A kind that is absent from the whole batch keeps its margin; as released
    its margin becomes the mean of P.
    """
    count_K = valid_GxK.sum(0)
    sum_K = jnp.where(valid_GxK, negative_GxK, 0.0).sum(0)
    gap_K = positive_G.mean() - sum_K / jnp.maximum(count_K, 1)
    next_K = jnp.clip(gap_K, 0.0, limit)
    kept_K = next_K if as_released else jnp.where(count_K > 0, next_K, margin_K)
    return lax.stop_gradient(kept_K)


def alignment(cosine_G: jax.Array, target: jax.Array | float) -> jax.Array:
    """Returns [G]: max(0, target - cosine of image and caption) (L_pos of AHNPL)."""
    return jnp.maximum(target - cosine_G, 0.0)


def adaptive_weights(
    difficulty_GxK: jax.Array, valid_GxK: jax.Array, *, beta: float, cap: float
) -> tuple[jax.Array, jax.Array]:
    """Returns (weight_GxK, share of the weights that reach the cap); no gradient flows.

    The weights are proportional to exp(beta * difficulty), with mean 1 over the valid negatives of
    a row, then limited to `cap`. They are 0 where invalid, and all 1 with beta = 0.
    """
    logits_GxK = jnp.where(valid_GxK, beta * lax.stop_gradient(difficulty_GxK), ABSENT)
    raw_GxK = jnp.exp(logits_GxK - logits_GxK.max(-1, keepdims=True, initial=ABSENT))
    raw_GxK = jnp.where(valid_GxK, raw_GxK, 0.0)
    count_Gx1 = jnp.maximum(valid_GxK.sum(-1, keepdims=True), 1)
    mean_Gx1 = raw_GxK.sum(-1, keepdims=True) / count_Gx1
    weight_GxK = raw_GxK / jnp.where(mean_Gx1 > 0, mean_Gx1, 1.0)
    at_cap = (weight_GxK > cap).sum() / jnp.maximum(valid_GxK.sum(), 1)
    return jnp.minimum(weight_GxK, cap), at_cap


def effective_share(weight_GxK: jax.Array, valid_GxK: jax.Array, *, axis: int | None) -> jax.Array:
    """Returns (sum w)^2 / (n sum w^2) over the n valid negatives; 1 if all weights are equal.

    This is Kish's effective sample size divided by n. axis: that is summed over; None for all. 1
    where there is no valid negative.
    """
    count = valid_GxK.sum(axis)
    squares = count * (weight_GxK**2).sum(axis)
    return jnp.where(count > 0, weight_GxK.sum(axis) ** 2 / jnp.where(count > 0, squares, 1.0), 1.0)


def mean_by_kind(values_GxK: jax.Array, valid_GxK: jax.Array) -> jax.Array:
    """Returns [K]: the mean over the valid negatives of each kind; 0 where there is none."""
    total_K = jnp.where(valid_GxK, values_GxK, 0.0).sum(0)
    return total_K / jnp.maximum(valid_GxK.sum(0), 1)
