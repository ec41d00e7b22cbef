"""Image-text contrastive losses.

Letters: G batch, M keys (the batch's twins, then the queue).
"""

import jax
import jax.numpy as jnp

ABSENT = -1e9  # logit of a key that does not exist; finite, so that 0 * log p is 0


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
