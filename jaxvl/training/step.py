"""One training step: loss, gradient, update, constraints, running mean. Pure, jitted, donated."""

from collections.abc import Callable, Mapping
from typing import cast

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxvl.data.schema import check_batch
from jaxvl.ops.trimming import at_length
from jaxvl.state import TrainState
from jaxvl.training import host
from jaxvl.types import Method, Params


def make_train_step(
    config: ConfigDict,
    *,
    method: Method,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    abstract: TrainState,
) -> jax.stages.Wrapped:
    """Returns a jitted (state, batch) -> (state, metrics).

    abstract: of state.abstract_state; the new state keeps its shardings.
    batch: global arrays, as in data.schema.batch_spec. metrics: flat dict of float32 scalars.
    The buffers of the old state are reused: it cannot be read afterwards.
    """

    everywhere = abstract.step.sharding

    def train_step(state, batch):
        check_batch(batch, config)  # once, while the step is compiled
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)

        def loss_and_gradient(batch):
            def loss_of(params):
                # Sharded parameters are gathered once. Left to itself the compiler gathers the
                # activations at each of them, which are ten times as much.
                params, slots = jax.lax.with_sharding_constraint((params, state.slots), everywhere)
                return method.forward(params, slots, batch, step=state.step, key=key)

            return jax.value_and_grad(loss_of, has_aux=True)(state.params)

        # The order is part of the method. First the losses; what `forward` does to the slots
        # (momentum before its features, queues after the loss) sees the parameters as they were.
        (loss, (metrics, slots)), gradient = at_length(
            loss_and_gradient, batch, config.data.token_lengths
        )
        # Second the update, third what must hold after every update (the temperature's range).
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = method.project(cast(Params, optax.apply_updates(state.params, updates)))
        # Last the running mean, of parameters that meet the constraints.
        ema = _running_mean(state.ema, params, decay=config.optim.ema_decay)

        metrics = {
            "loss": loss,
            **metrics,
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "norm/gradient": optax.tree.norm(gradient),
            "norm/update": optax.tree.norm(updates),
            "norm/parameters": optax.tree.norm(params),
        }
        return TrainState(state.step + 1, params, opt_state, ema, slots), metrics

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, everywhere))


def compile_step(
    train_step: jax.stages.Wrapped, abstract: TrainState, batch: Mapping[str, jax.Array]
) -> Callable:
    """Returns the step compiled for batches of this shape; the compiler's memory is given back."""
    compiled = train_step.lower(abstract, batch).compile()
    host.give_back()  # at published sizes a gigabyte, which the C library would keep
    return compiled


def _running_mean(ema, params, *, decay):
    if ema is None:
        return None
    return jax.tree.map(lambda mean, value: decay * mean + (1 - decay) * value, ema, params)
