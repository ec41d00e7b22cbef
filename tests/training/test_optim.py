"""AdamW against its definition: the schedule's corners, who decays, clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvl.config import base
from jaxvl.sharding import path_name
from jaxvl.training import optim


def options(**changes):
    chosen = base().optim
    chosen.update(warmup_steps=10, learning_rate=1e-3, warmup_learning_rate=1e-5)
    chosen.update(final_learning_rate=1e-4, **changes)
    return chosen


def test_the_learning_rate_at_the_corners_of_the_schedule():
    rate = optim.make_schedule(options(), total_steps=110)
    np.testing.assert_allclose(rate(0), 1e-5, rtol=1e-4)
    np.testing.assert_allclose(rate(5), (1e-5 + 1e-3) / 2, rtol=1e-5)
    np.testing.assert_allclose(rate(10), 1e-3, rtol=1e-5)
    np.testing.assert_allclose(rate(60), (1e-3 + 1e-4) / 2, rtol=1e-5)
    np.testing.assert_allclose(rate(110), 1e-4, rtol=1e-5)


def test_a_run_shorter_than_the_warm_up_stays_in_it():
    rate = optim.make_schedule(options(), total_steps=5)
    np.testing.assert_allclose(rate(5), (1e-5 + 1e-3) / 2, rtol=1e-5)


def test_without_warm_up_the_first_step_has_the_full_rate():
    rate = optim.make_schedule(options(warmup_steps=0), total_steps=5)
    np.testing.assert_allclose(rate(0), 1e-3, rtol=1e-5)


@pytest.mark.parametrize("temperature", [False, True])
def test_biases_and_norms_do_not_decay_the_temperature_by_key_and_all_else_does(temperature):
    dense = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "key_bias": jnp.ones((3, 2))}
    params = {
        "layers": {"dense": dense, "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)}},
        "embedding": {"word": jnp.ones((3, 2)), "positions": jnp.ones((1, 2))},
        "temperature": jnp.ones(()),
    }
    chosen = options(weight_decay=0.1, decay_temperature=temperature)
    optimizer = optim.make_optimizer(chosen, total_steps=10)
    no_gradient = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(no_gradient, optimizer.init(params), params)
    moved = {
        path_name(path): bool(jnp.any(leaf != 0))
        for path, leaf in jax.tree_util.tree_leaves_with_path(updates)
    }
    assert moved == {
        "layers/dense/kernel": True,
        "layers/dense/bias": False,
        "layers/dense/key_bias": False,
        "layers/norm/scale": False,
        "layers/norm/bias": False,
        "embedding/word": True,
        "embedding/positions": True,
        "temperature": temperature,
    }


@pytest.mark.parametrize("clip_norm, seen", [(0.0, 20.0), (1.0, 1.0)])
def test_the_gradient_is_clipped_by_its_global_norm_only_where_asked(clip_norm, seen):
    params, gradient = {"kernel": jnp.zeros(4)}, {"kernel": jnp.full(4, 10.0)}
    optimizer = optim.make_optimizer(options(clip_norm=clip_norm), total_steps=10)
    _, state = optimizer.update(gradient, optimizer.init(params), params)
    first_moment = optax.tree_utils.tree_get(state, "mu")["kernel"]
    np.testing.assert_allclose(optax.tree.norm(first_moment), 0.1 * seen, rtol=1e-5)


def test_updates_are_adamw_as_written():
    chosen = options(weight_decay=0.1, b1=0.8, b2=0.7, eps=0.1)
    optimizer = optim.make_optimizer(chosen, total_steps=100)
    rate = optim.make_schedule(chosen, total_steps=100)
    params = {"kernel": jnp.array([1.0, 1.0])}
    state, mean, square = optimizer.init(params), 0.0, 0.0
    for step, gradient in enumerate(np.array([[0.5, -2.0], [3.0, 0.1]])):
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
        mean, square = 0.8 * mean + 0.2 * gradient, 0.7 * square + 0.3 * gradient**2
        unbiased = [mean / (1 - 0.8 ** (step + 1)), square / (1 - 0.7 ** (step + 1))]
        adam = unbiased[0] / (np.sqrt(unbiased[1]) + 0.1)
        expected = -rate(step) * (adam + 0.1 * np.asarray(params["kernel"]))
        np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-4)
        params = optax.apply_updates(params, updates)
