"""Matrix products: in float32, or with narrow inputs and float32 accumulation.

Both hold in the backward pass too, and on every device.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike


def exact(spec: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns einsum(spec, a, b) of float32 arrays, computed in float32.

    Without "highest" a float32 product is one of TF32 on a GPU and of bfloat16 on a TPU: at CLIP's
    scale of 100 a similarity is then off by 0.05 and 0.4.
    """
    return jnp.einsum(spec, a, b, precision="highest", preferred_element_type=jnp.float32)


def product(spec: str, a: jax.Array, b: jax.Array, *, dtype: DTypeLike) -> jax.Array:
    """Returns einsum(spec, a, b) in float32, with both inputs rounded to `dtype` first.

    spec: of two operands; every letter of an operand is also in the other one or in the output.
    The gradients are products of the same kind; JAX alone would compute them in float32.
    """
    if jnp.dtype(dtype) == jnp.float32:
        return exact(spec, a, b)
    return _narrow_product(spec, jnp.dtype(dtype))(a, b)


def _narrow_einsum(spec: str, dtype: DTypeLike, a: jax.Array, b: jax.Array) -> jax.Array:
    def narrow(a, b):
        return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)

    def widened(a, b):
        return exact(spec, a.astype(jnp.float32), b.astype(jnp.float32))

    a, b = a.astype(dtype), b.astype(dtype)
    operands, out = spec.split("->")
    is_batched = any(letter in out and operands.count(letter) == 2 for letter in operands)
    if is_batched:
        # XLA's CPU runtime has no batched product of bfloat16 into float32 ("DotThunk::Execute").
        return lax.platform_dependent(a, b, cpu=widened, default=narrow)
    return narrow(a, b)


# `precision=DotAlgorithmPreset.BF16_BF16_F32` does not replace this: on a CPU it does not round the
# inputs, and it keeps float32 inputs for the backward pass.
@functools.cache
def _narrow_product(spec: str, dtype: DTypeLike) -> Callable[[jax.Array, jax.Array], jax.Array]:
    operands, out = spec.split("->")
    letters_a, letters_b = operands.split(",")

    @jax.custom_vjp
    def multiply(a, b):
        return _narrow_einsum(spec, dtype, a, b)

    def forward(a, b):
        # The backward pass multiplies the rounded inputs: they take half the memory of the inputs.
        # Copies, since JAX 0.10 mixes up residuals inside a scan where one is an input as it came.
        narrow_a, narrow_b = jnp.copy(a.astype(dtype)), jnp.copy(b.astype(dtype))
        kept = (narrow_a, narrow_b, jnp.zeros((), a.dtype), jnp.zeros((), b.dtype))
        # `multiply` and not its einsum: the pass that Grad-CAM differentiates is differentiated
        # again, and there JAX would multiply float32 cotangents by narrow inputs.
        return multiply(a, b), kept

    def backward(kept, cotangent):
        a, b, like_a, like_b = kept
        grad_a = _narrow_product(f"{out},{letters_b}->{letters_a}", dtype)(cotangent, b)
        grad_b = _narrow_product(f"{letters_a},{out}->{letters_b}", dtype)(a, cotangent)
        return grad_a.astype(like_a.dtype), grad_b.astype(like_b.dtype)

    multiply.defvjp(forward, backward)
    return multiply
