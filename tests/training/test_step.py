"""One training step: order, key, running mean, and the same numbers on every mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_step import batch_of, build, mesh_of, on_host

from jaxvl import config as config_lib
from jaxvl import sharding, state
from jaxvl.methods import METHODS
from jaxvl.models import MODELS
from jaxvl.training import optim

pytestmark = pytest.mark.slow

MESHES = [(1, 1), (8, 1), (2, 4)]  # each compiles for half a minute; 2 x 4 has both axes


def test_a_step_is_gradient_update_constraint_mean_in_that_order(toy_config):
    toy_config.optim.update(ema_decay=0.9, learning_rate=0.1, warmup_steps=0, b1=0.0)
    toy_config.model.temperature = 0.49  # the update pushes it over the limit of 0.5
    first, train_step, method = build(toy_config, mesh_of(1, 1))
    before, batch = on_host(first), batch_of(0)
    key = jax.random.fold_in(jax.random.key(toy_config.seed), 0)

    def loss_of(params):
        return method.forward(params, before.slots, batch, step=0, key=key)

    (loss, (_, slots)), gradient = jax.value_and_grad(loss_of, has_aux=True)(before.params)
    after, metrics = train_step(first, sharding.to_global(batch, mesh_of(1, 1)))

    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["norm/gradient"],
        np.sqrt(sum((np.asarray(leaf) ** 2).sum() for leaf in jax.tree.leaves(gradient))),
        rtol=1e-5,
    )
    np.testing.assert_allclose(metrics["learning_rate"], 0.1, rtol=1e-5)
    norm = optax.tree.norm(on_host(after).params)
    np.testing.assert_allclose(metrics["norm/parameters"], norm, rtol=1e-5)
    assert 0.1 < metrics["norm/update"] < norm  # each entry by about the learning rate
    moved = jax.tree.map(lambda new, old: np.sign(new - old), on_host(after).params, before.params)
    np.testing.assert_array_equal(
        moved["image"]["kernel"], -np.sign(np.asarray(gradient["image"]["kernel"]))
    )
    assert float(after.params["temperature"]) == 0.5
    expected = jax.tree.map(lambda m, p: 0.9 * m + 0.1 * p, before.params, on_host(after).params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.ema, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.slots, slots)
    assert int(after.step) == 1


def test_a_batch_of_another_shape_is_refused_when_the_step_is_compiled(toy_config):
    mesh = mesh_of(1, 1)
    first, train_step, _ = build(toy_config, mesh)
    batch = {**batch_of(0), "token_ids": batch_of(0)["token_ids"][:, :-1]}
    with pytest.raises(AssertionError, match="token_ids"):
        train_step(first, sharding.to_global(batch, mesh))


def test_each_step_has_its_own_draws_and_they_are_the_same_each_time(toy_config):
    toy_config.optim.update(learning_rate=1e-30, warmup_learning_rate=1e-30, weight_decay=0.0)
    mesh = mesh_of(1, 1)
    batch = sharding.to_global(batch_of(0), mesh)

    def losses():
        current, train_step, _ = build(toy_config, mesh)
        for _ in range(2):
            current, metrics = train_step(current, batch)
            yield float(metrics["loss/itc"])

    first, second = losses()
    assert first != second
    assert [first, second] == list(losses())


def test_the_state_keeps_its_shardings_and_its_old_buffers_are_given_up(toy_config):
    mesh = mesh_of(2, 4)
    first, train_step, _ = build(toy_config, mesh)
    where = jax.tree.map(lambda leaf: leaf.sharding, first)
    assert not first.params["embedding"].sharding.is_fully_replicated
    after, _ = train_step(first, sharding.to_global(batch_of(0), mesh))
    jax.tree.map(lambda leaf, here: leaf.sharding == here or pytest.fail(), after, where)
    assert first.params["embedding"].is_deleted()


def test_softmask_gives_the_same_loss_and_gradient_on_every_mesh(tiny_config):
    config = config_lib.resolve(tiny_config, vocabulary_size=100, mask_token=4)
    model = MODELS[config.model.name].make(config)
    method = METHODS[config.method].make(config, model, steps_per_epoch=5)

    def loss_and_gradient(data, fsdp):
        mesh = mesh_of(data, fsdp)
        params = jax.device_put(
            initial, sharding.shardings(initial, model.partition_rules, mesh=mesh)
        )
        rules = (*method.slot_rules, *model.partition_rules)
        slots = jax.device_put(start, sharding.shardings(start, rules, mesh=mesh))

        @jax.jit
        def run(params, slots, batch):
            def loss_of(params):
                key = jax.random.key(3)
                loss, (_, slots_after) = method.forward(params, slots, batch, step=7, key=key)
                return loss, slots_after["queue"]

            return jax.value_and_grad(loss_of, has_aux=True)(params)

        return on_host(run(params, slots, sharding.to_global(batch_of(1), mesh)))

    initial = on_host(jax.jit(model.init)(jax.random.key(0)))
    start = on_host(method.init_slots(initial))
    expected, *others = (loss_and_gradient(*mesh) for mesh in MESHES)
    for other in others:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), other, expected
        )
    assert any(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(expected[1]))


def test_the_sharding_plan_is_the_golden_one(tiny_config):
    """Where each array of a SoftMask state lies at 2 x 4; to accept a change, put it in the file:
    tests/golden/sharding_softmask_2x4.txt."""
    from pathlib import Path

    config = config_lib.resolve(tiny_config, vocabulary_size=100, mask_token=4)
    model = MODELS[config.model.name].make(config)
    method = METHODS[config.method].make(config, model, steps_per_epoch=5)
    optimizer = optim.make_optimizer(config.optim, total_steps=4)
    begin = state.make_begin(config, method=method, optimizer=optimizer)
    abstract = state.abstract_state(begin, model=model, method=method, mesh=mesh_of(2, 4))
    plan = [
        f"{sharding.path_name(path)} {leaf.shape} {tuple(leaf.sharding.spec)}\n"
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract)
    ]
    golden = Path(__file__).parents[1] / "golden" / "sharding_softmask_2x4.txt"
    assert "".join(plan) == golden.read_text()


def test_parameters_do_not_depend_on_the_mesh(toy_config):
    drawn = [on_host(build(toy_config, mesh_of(*mesh))[0].params) for mesh in ((1, 1), (2, 4))]
    jax.tree.map(np.testing.assert_array_equal, *drawn)
    assert jnp.abs(drawn[0]["embedding"]).max() > 0
