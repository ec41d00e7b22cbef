"""Random draws by name: each follows from (seed, step, name); no generator state is stored."""

import zlib

import jax
import jax.numpy as jnp
from jax import lax


def stream(key: jax.Array, name: str) -> jax.Array:
    """Returns the PRNG key called `name`, the same in every process and every version of Python."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def keep_mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Returns bool `shape`, each entry True with probability 1 - rate, for dropout.

    The bits are an integer hash of the position (lowbias32 by Wellons, applied twice), not
    threefry: a model makes dozens of these draws per step, and with threefry they took most of the
    compile time and a good part of the step. An entry depends on its position alone, so that no
    shape of the mesh changes it; `rbg` keys do not have this property.
    """
    seed = jax.random.key_data(key).astype(jnp.uint32).reshape(-1)
    position = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        position = position * jnp.uint32(shape[axis]) + lax.broadcasted_iota(
            jnp.uint32, shape, axis
        )
    bits = _mix(_mix(position + seed[0]) ^ seed[-1])
    return bits >= jnp.uint32(rate * 2**32)


def _mix(x: jax.Array) -> jax.Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
