"""Random keys by name: nothing random is stored, every draw follows from (seed, step, name)."""

import zlib

import jax
import jax.numpy as jnp
from jax import lax


def stream(key, name):
    """Returns the key of the stream `name`, the same in every process and version of Python."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def keep_mask(key, rate, shape):
    """Returns bool `shape`, True with probability 1 - rate, for dropout.

    An integer hash of the position (Wellons' lowbias32, twice) in place of threefry: a model draws
    dozens of these a step, and with threefry they took most of the compile time and a good part
    of the step. Position by position, so no mesh shape changes a draw.
    """
    seed = jax.random.key_data(key).astype(jnp.uint32).reshape(-1)
    position = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        position = position * jnp.uint32(shape[axis]) + lax.broadcasted_iota(
            jnp.uint32, shape, axis
        )
    bits = _mix(_mix(position + seed[0]) ^ seed[-1])
    return bits >= jnp.uint32(rate * 2**32)


def _mix(x):
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
