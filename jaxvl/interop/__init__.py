"""Weights of other projects: how their tensors are named, and reading them."""
