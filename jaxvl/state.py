"""What training carries from step to step, and how it comes into being already sharded."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxvl import sharding


class TrainState(NamedTuple):
    """State that learns is state that is saved: nothing else survives a step."""

    step: Any  # int32 scalar, updates made so far
    params: Any
    opt_state: Any
    ema: Any  # running mean of the parameters, or None
    slots: Any  # of the method: momentum twins, queues, margins, controllers


def make_begin(config, *, method, optimizer):
    """Returns params -> TrainState at step 0, whatever the parameters come from."""

    def begin(params):
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            ema=params if config.optim.ema_decay > 0 else None,
            slots=method.init_slots(params),
        )

    return begin


def abstract_state(begin, *, model, method, mesh):
    """Returns the TrainState as ShapeDtypeStructs that carry their shardings; nothing is drawn.

    The method's rules come before the model's, the first match decides.
    """
    rules = (*method.slot_rules, *model.partition_rules)
    shapes = jax.eval_shape(lambda key: begin(model.init(key)), jax.random.key(0))
    return attach(shapes, sharding.shardings(shapes, rules, mesh=mesh))


def attach(shapes, shardings):
    """Returns the tree of ShapeDtypeStructs with these shardings."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        shapes,
        shardings,
    )


def initial_state(begin, *, model, abstract, seed):
    """Draws the state where it will live: nothing large ever lies whole on one device.

    The draw depends on the seed alone, not on the mesh.
    """
    draw = jax.jit(lambda key: begin(model.init(key)), out_shardings=_shardings(abstract))
    return draw(jax.random.key(seed))


def state_from(params, begin, *, abstract):
    """Returns the TrainState at step 0 of parameters that are there already, copied."""
    return jax.jit(begin, out_shardings=_shardings(abstract))(params)


def _shardings(abstract):
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)
