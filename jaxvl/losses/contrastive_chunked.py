"""The contrastive losses of contrastive.py without the whole matrix of logits.

The keys come in chunks. A first pass carries the log-sum-exp of each row over them, a second adds
up what each chunk gives the loss; the backward pass computes a chunk's logits again. So memory
grows with R * chunk, not with R * M.

Letters: R rows, M keys, C keys of a chunk, n chunks, E embedding.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.losses.contrastive import ABSENT


def log_sum_exp(z_RxE, keys_MxE, exists_M, scale, *, chunk):
    """Returns float32 [R]: log of the sum of exp(scale * z . k) over the keys that exist.

    chunk: keys at a time; it need not divide M. A row without any key has about ABSENT.
    """
    chunks = _in_chunks(chunk, keys_MxE, exists_M)
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


def itc(z_RxE, image_id_R, keys, scale, *, twin, gamma, focal_on, chunk):
    """Returns float32 [R], what contrastive.itc returns, in value and in gradient."""
    scale = jnp.asarray(scale, jnp.float32)
    z_nxCxE, image_id_nxC, exists_nxC = _in_chunks(chunk, *keys)
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


def _in_chunks(chunk, keys_MxE, *others):
    """Returns the arrays as [n, C, ...], the last chunk filled up with keys that do not exist."""
    chunk = min(chunk, keys_MxE.shape[0])
    missing = -keys_MxE.shape[0] % chunk

    def split(x):
        fill = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
        return fill.reshape(-1, chunk, *x.shape[1:])

    return [split(x) for x in (keys_MxE, *others)]
