"""A run goes on from a checkpoint on any mesh, and in any number of processes, as if on its own.

What is restored is equal in every bit, and so are the batches and draws that follow. The losses are
equal in every bit on a mesh of the same shape; on another one, float32 sums over the batch are
taken in another order, which may change the last two of their seven digits.
"""

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import permuted_toy
import pytest
from jax.sharding import AxisType
from small_step import batch_of, build, mesh_of, on_host
from toy_runs import lines, parameters, write_config

from jaxvl import checkpoint, config, sharding
from jaxvl.models import MODELS
from jaxvl.training import loop

pytestmark = pytest.mark.slow

MESHES = [(1, 1), (8, 1), (4, 2), (2, 4)]
LAST_DIGITS = 1e-5  # relative


def settings():
    toy = config.base()
    toy.batch_size, toy.model.name, toy.method = 8, "toy", "toy"
    toy.data.update(image_size=32, max_tokens=12)
    toy.optim.update(ema_decay=0.9, warmup_steps=0, learning_rate=1e-2, final_learning_rate=1e-2)
    return toy


@functools.cache
def step_on(shape):
    """Returns (where the first state lies, the jitted step, the mesh); compiled once a mesh."""
    mesh = mesh_of(*shape)
    first, train_step, _ = build(settings(), mesh)
    return first, train_step, mesh


def go_on(state, train_step, mesh, steps):
    """Returns (the state, its losses and the sums that tell the order of the examples)."""
    found = []
    for step in steps:
        state, metrics = train_step(state, sharding.to_global(batch_of(step), mesh))
        found.append((float(metrics["loss"]), float(metrics["ids"])))
    return state, np.array(found)


def abstract_of(tree):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns mesh -> (directory, the state of step 2 on the host, what steps 2 and 3 gave)."""

    @functools.cache
    def saved_on(shape):
        directory = tmp_path_factory.mktemp("run")
        first, train_step, mesh = step_on(shape)
        state, _ = go_on(jax.tree.map(lambda x: x.copy(), first), train_step, mesh, range(2))
        checkpoints = checkpoint.Checkpoints(directory, keep=1, best_metric="")
        checkpoints.save(state, step=2)
        checkpoints.close()
        kept = on_host(state)
        return directory, kept, go_on(state, train_step, mesh, range(2, 4))[1]

    return saved_on


@pytest.mark.parametrize("after", MESHES)
@pytest.mark.parametrize("before", MESHES)
def test_a_run_continues_on_another_mesh(saved, before, after):
    directory, expected, straight = saved(before)
    first, train_step, mesh = step_on(after)
    checkpoints = checkpoint.Checkpoints(directory, keep=1, best_metric="", read_only=True)
    state = checkpoints.restore(abstract_of(first), step=2)
    jax.tree.map(np.testing.assert_array_equal, on_host(state), expected)
    jax.tree.map(lambda a, b: a.sharding == b.sharding or pytest.fail(), state, first)
    _, found = go_on(state, train_step, mesh, range(2, 4))
    np.testing.assert_array_equal(found[:, 1], straight[:, 1])
    np.testing.assert_allclose(found, straight, rtol=0 if before == after else LAST_DIGITS)


def test_what_is_sharded_over_devices_is_read_on_one(saved):
    directory, expected, _ = saved((2, 4))
    model, one = MODELS["toy"].make(settings()), mesh_of(1, 1)
    for use_ema, tree in ((True, expected.ema), (False, expected.params)):
        params, step = checkpoint.restore_params(directory, model=model, mesh=one, use_ema=use_ema)
        assert step == 2
        jax.tree.map(np.testing.assert_array_equal, on_host(params), tree)
        assert {len(leaf.devices()) for leaf in jax.tree.leaves(params)} == {1}


def test_the_order_of_the_devices_changes_no_bit(saved):
    mesh = permuted_toy.make_mesh(
        (4, 2), sharding.AXES, axis_types=(AxisType.Auto,) * 2, devices=jax.devices()
    )
    assert list(mesh.devices.ravel()) != list(mesh_of(4, 2).devices.ravel())
    first, train_step, _ = build(settings(), mesh)
    state, _ = go_on(first, train_step, mesh, range(2))
    _, expected, straight = saved((4, 2))
    jax.tree.map(np.testing.assert_array_equal, on_host(state), expected)
    np.testing.assert_array_equal(go_on(state, train_step, mesh, range(2, 4))[1], straight)


def in_two_processes(config_file, directory):
    """Trains in both, four devices each, in an order that comes back to a process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    root = Path(__file__).parents[1]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4", "PYTHONPATH": str(root)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    flags = [f"--config={config_file}", f"--workdir={directory}", f"--coordinator={address}"]
    flags.append("--num_processes=2")
    processes = [
        subprocess.Popen(
            [sys.executable, permuted_toy.__file__, *flags, f"--process_id={index}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs


def test_a_run_moves_between_one_process_and_two(toy_config, tmp_path):
    toy_config.optim.update(warmup_steps=0, learning_rate=1e-2, final_learning_rate=1e-2)
    toy_config.mesh.fsdp = 2
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    for last, processes in ((2, 2), (4, 1), (6, 2)):
        toy_config.total_steps = last
        if processes == 1:
            assert loop.train(toy_config, moved) == 0
        else:
            in_two_processes(write_config(toy_config, tmp_path / f"to_{last}.py"), moved)
    assert loop.train(toy_config, straight) == 0
    expected, found = lines(straight), lines(moved)
    assert [line["step"] for line in found] == list(range(1, 7))
    assert [line["ids"] for line in found] == [line["ids"] for line in expected]
    np.testing.assert_allclose(
        [line["loss"] for line in found], [line["loss"] for line in expected], rtol=LAST_DIGITS
    )
    (_, found), (_, expected) = parameters(moved, toy_config), parameters(straight, toy_config)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )
