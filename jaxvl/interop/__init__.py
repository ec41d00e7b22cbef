"""Weights in: published weights of other projects, read as starting weights of a run."""
