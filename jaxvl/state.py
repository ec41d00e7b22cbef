"""The state that training carries from step to step, and its first value, already sharded."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvl import sharding
from jaxvl.types import Method, Model, Params


class TrainState(NamedTuple):
    """Everything that a step changes, and that a checkpoint holds."""

    step: Any  # int32 scalar, updates made so far
    params: Params
    opt_state: Any
    ema: Params | None  # running mean of the parameters
    slots: Any  # of the method: momentum encoder, queues, margins, controllers


def make_begin(
    config: ConfigDict, *, method: Method, optimizer: optax.GradientTransformation
) -> Callable[[Params], TrainState]:
    """Returns params -> TrainState at step 0."""

    def begin(params):
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            ema=params if config.optim.ema_decay > 0 else None,
            slots=method.init_slots(params),
        )

    return begin


def abstract_state(
    begin: Callable[[Params], TrainState], *, model: Model, method: Method, mesh: Mesh
) -> TrainState:
    """Returns the TrainState as ShapeDtypeStructs with their shardings; nothing is computed.

    The partition rules of the method come before those of the model; the first match decides.
    """
    rules = (*method.slot_rules, *model.partition_rules)
    shapes = jax.eval_shape(lambda key: begin(model.init(key)), jax.random.key(0))
    return attach(shapes, sharding.shardings(shapes, rules, mesh=mesh))


def attach(shapes: Any, shardings: Any) -> Any:
    """Returns a tree of ShapeDtypeStructs with these shardings."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        shapes,
        shardings,
    )


def initial_state(
    begin: Callable[[Params], TrainState], *, model: Model, abstract: TrainState, seed: int
) -> TrainState:
    """Returns the TrainState at step 0 of random parameters, drawn shard by shard on the devices.

    No device ever holds a whole copy of a sharded array. The values depend on the seed, not on the
    mesh.
    """
    draw = jax.jit(lambda key: begin(model.init(key)), out_shardings=_shardings(abstract))
    return draw(jax.random.key(seed))


def state_from(
    params: Params, begin: Callable[[Params], TrainState], *, abstract: TrainState
) -> TrainState:
    """Returns the TrainState at step 0 of the given parameters, which are copied."""
    return jax.jit(begin, out_shardings=_shardings(abstract))(params)


def _shardings(abstract):
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)
