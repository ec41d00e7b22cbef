"""What all pieces of a training step of ALBEF and SoftMask read."""

from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from jaxvl.types import Batch, Model, Params


class Context(NamedTuple):
    """One training step, before its losses: what all its pieces read and none of them changes."""

    config: ConfigDict
    model: Model
    params: Params
    batch: Batch
    step: jax.Array  # int32 scalar, updates made so far
    key: jax.Array  # of the step; each draw has a stream of its own, and its name decides the draw
