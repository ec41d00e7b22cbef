"""Matrix products with narrow inputs and float32 accumulation, in the backward pass too."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike


def product(spec: str, a: jax.Array, b: jax.Array, *, dtype: DTypeLike) -> jax.Array:
    """Returns einsum(spec, a, b) in float32, with both inputs rounded to `dtype` first.

    spec: of two operands; every letter of an operand is also in the other one or in the output.
    The gradients are products of the same kind; JAX alone would compute them in float32.
    """
    if jnp.dtype(dtype) == jnp.float32:
        return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)
    return _narrow_product(spec, jnp.dtype(dtype), a, b)


# `precision=DotAlgorithmPreset.BF16_BF16_F32` does not replace this: on a CPU it does not round the
# inputs, and it keeps float32 inputs for the backward pass.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _narrow_product(spec, dtype, a, b):
    return _narrow_einsum(spec, dtype, a, b)


def _narrow_einsum(spec: str, dtype: DTypeLike, a: jax.Array, b: jax.Array) -> jax.Array:
    def narrow(a, b):
        return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)

    def widened(a, b):
        return narrow(a.astype(jnp.float32), b.astype(jnp.float32))

    a, b = a.astype(dtype), b.astype(dtype)
    operands, out = spec.split("->")
    is_batched = any(letter in out and operands.count(letter) == 2 for letter in operands)
    if is_batched:
        # XLA's CPU runtime has no batched product of bfloat16 into float32 ("DotThunk::Execute").
        return lax.platform_dependent(a, b, cpu=widened, default=narrow)
    return narrow(a, b)


def _forward(spec, dtype, a, b):
    # The backward pass multiplies the rounded inputs: they take half the memory of the inputs.
    kept = (a.astype(dtype), b.astype(dtype), jnp.zeros((), a.dtype), jnp.zeros((), b.dtype))
    return _narrow_einsum(spec, dtype, a, b), kept


def _backward(spec, dtype, kept, cotangent):
    a, b, like_a, like_b = kept
    operands, out = spec.split("->")
    letters_a, letters_b = operands.split(",")
    grad_a = _narrow_einsum(f"{out},{letters_b}->{letters_a}", dtype, cotangent, b)
    grad_b = _narrow_einsum(f"{letters_a},{out}->{letters_b}", dtype, a, cotangent)
    return grad_a.astype(like_a.dtype), grad_b.astype(like_b.dtype)


_narrow_product.defvjp(_forward, _backward)
