"""Unit vectors and weighted means. Letters: G rows, E embedding."""

import jax
import jax.numpy as jnp
from jax import lax


def unit(x_GxE: jax.Array) -> jax.Array:
    """Returns the rows divided by their length; zeros stay zeros, with a finite gradient."""
    return x_GxE * lax.rsqrt(jnp.maximum((x_GxE**2).sum(-1, keepdims=True), 1e-24))


def masked_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the scalar sum(values * weights) / sum(weights); 0 if all weights are 0.

    values, weights: of one shape. weights: 0 or 1, of any type.
    """
    weights = weights.astype(jnp.float32)
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)
