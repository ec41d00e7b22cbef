"""Keys in chunks: the log-sum-exp over many keys without the whole matrix of logits in memory.

Letters: R rows, M keys, C keys of a chunk, n chunks, E embedding.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.ops.dot import exact

ABSENT = -1e9  # logit of a key that does not exist; finite, so that 0 * log p is 0


def in_chunks(chunk: int, keys_MxE: jax.Array, *others: jax.Array) -> list[jax.Array]:
    """Returns the arrays as [n, C, ...], padded with keys that do not exist.

    others: arrays [M, ...] that belong to the keys; the padding is 0, or False.
    """
    chunk = min(chunk, keys_MxE.shape[0])
    missing = -keys_MxE.shape[0] % chunk

    def split(x):
        fill = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
        return fill.reshape(-1, chunk, *x.shape[1:])

    return [split(x) for x in (keys_MxE, *others)]


def logits(
    z_RxE: jax.Array, keys_CxE: jax.Array, exists_C: jax.Array, scale: jax.Array | float
) -> jax.Array:
    """Returns float32 [R, C]: scale * z . k; ABSENT for a key that does not exist."""
    return jnp.where(exists_C[None], scale * exact("RE,CE->RC", z_RxE, keys_CxE), ABSENT)


def log_sum_exp(
    z_RxE: jax.Array,
    keys_MxE: jax.Array,
    exists_M: jax.Array,
    scale: jax.Array | float,
    *,
    chunk: int,
) -> jax.Array:
    """Returns float32 [R]: log of the sum of exp(scale * z . k) over the keys that exist.

    chunk: keys at a time; M need not be a multiple. A row without any key gets about ABSENT.
    """
    chunks = in_chunks(chunk, keys_MxE, exists_M)
    return chunked_log_sum_exp(z_RxE, *chunks, jnp.asarray(scale, jnp.float32))


@jax.custom_vjp
def chunked_log_sum_exp(
    z_RxE: jax.Array, keys_nxCxE: jax.Array, exists_nxC: jax.Array, scale: jax.Array
) -> jax.Array:
    """Returns what `log_sum_exp` returns, of keys that are in chunks already."""

    def add(carry, one):
        (highest_R, sum_R), (keys_CxE, exists_C) = carry, one
        logits_RxC = logits(z_RxE, keys_CxE, exists_C, scale)
        new_R = jnp.maximum(highest_R, logits_RxC.max(-1))
        sum_R = sum_R * jnp.exp(highest_R - new_R) + jnp.exp(logits_RxC - new_R[:, None]).sum(-1)
        return (new_R, sum_R), None

    rows = z_RxE.shape[0]
    nothing = (jnp.full((rows,), ABSENT, jnp.float32), jnp.zeros((rows,)))
    (highest_R, sum_R), _ = lax.scan(add, nothing, (keys_nxCxE, exists_nxC))
    return highest_R + jnp.log(sum_R)


def _forward(z_RxE, keys_nxCxE, exists_nxC, scale):
    lse_R = chunked_log_sum_exp(z_RxE, keys_nxCxE, exists_nxC, scale)
    return lse_R, (z_RxE, keys_nxCxE, exists_nxC, scale, lse_R)


def _backward(kept, cotangent_R):
    # The gradient of a log-sum-exp is the softmax, computed chunk by chunk from the kept value.
    z_RxE, keys_nxCxE, exists_nxC, scale, lse_R = kept

    def add(grad_z_RxE, one):
        keys_CxE, exists_C = one
        p_RxC = jnp.exp(logits(z_RxE, keys_CxE, exists_C, scale) - lse_R[:, None])
        p_RxC = jnp.where(exists_C[None], p_RxC * cotangent_R[:, None], 0.0)
        grad_keys_CxE = exact("RC,RE->CE", p_RxC, z_RxE)
        return grad_z_RxE + exact("RC,CE->RE", p_RxC, keys_CxE), grad_keys_CxE

    pulled_z_RxE, pulled_nxCxE = lax.scan(add, jnp.zeros_like(z_RxE), (keys_nxCxE, exists_nxC))
    grad_scale = (pulled_z_RxE * z_RxE).sum()
    return scale * pulled_z_RxE, scale * pulled_nxCxE, None, grad_scale


chunked_log_sum_exp.defvjp(_forward, _backward)
