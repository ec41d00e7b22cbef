"""The inputs of the pieces of a training step of ALBEF and SoftMask."""

from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from jaxvl.types import Batch, Model, Params


class Context(NamedTuple):
    """The inputs of one training step, which all its pieces read."""

    config: ConfigDict
    model: Model
    params: Params
    batch: Batch
    step: jax.Array  # int32 scalar, updates made so far
    key: jax.Array  # of the step; each draw has a named stream, and the name decides the draw
