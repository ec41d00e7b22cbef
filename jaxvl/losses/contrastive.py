"""Image-text contrastive losses.

Letters: G rows of a batch, M keys (of the batch, then of a queue or hard negatives), E embedding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

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
    chunk: keys at a time, so that no [G, M] is ever held (contrastive_chunked.py); 0: all at once.
    Returns float32 [G].
    """
    if chunk:
        from jaxvl.losses import contrastive_chunked

        return contrastive_chunked.itc(
            z_GxE, image_id_G, keys, scale, twin=twin, gamma=gamma, focal_on=focal_on, chunk=chunk
        )
    true_M = keys.exists_M & (keys.image_id_M >= 0)
    same_GxM = (image_id_G[:, None] == keys.image_id_M[None]) & true_M[None]
    logits_GxM = jnp.where(keys.exists_M[None], scale * (z_GxE @ keys.z_MxE.T), ABSENT)
    if twin is None:
        targets_GxM = same_GxM / same_GxM.sum(-1, keepdims=True)
    else:
        twin_GxM = jnp.where(true_M[None], scale * (twin.z_RxE @ keys.z_MxE.T), ABSENT)
        targets_GxM = soft_targets(jax.lax.stop_gradient(twin_GxM), same_GxM, distill=twin.share)
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
