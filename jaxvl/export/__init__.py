"""Weights out: folders for PyTorch, each proven equal to JAX."""
