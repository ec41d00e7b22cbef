"""What devices send each other for matching and contrast, read from compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxvl import sharding
from jaxvl.losses import contrastive, itm
from jaxvl.plan import hlo
from jaxvl.plan.collectives import collectives

ROW = 4 * 6 * 8  # bytes of a row of tokens [6, 8]


def mesh_of(data, fsdp):
    return sharding.make_mesh(
        ConfigDict(dict(data=data, fsdp=fsdp)), devices=jax.devices()[: data * fsdp]
    )


def sent(function, *arguments, rows, results, mesh):
    """Returns (the values, the bytes of the largest transfer).

    rows: whether each argument is split over the devices. results: the same of what it returns.
    """
    split, whole = sharding.batch_sharding(mesh), sharding.replicated(mesh)
    placed = [jax.device_put(x, split if is_row else whole) for x, is_row in zip(arguments, rows)]
    out = tuple(split if is_row else whole for is_row in results)
    compiled = jax.jit(function, out_shardings=out).lower(*placed).compile()
    module = hlo.parse(compiled.as_text())
    return compiled(*placed), max([one.size for one in collectives(module)], default=0)


def take_wrong_ones(x_GxNxD, similarity_GxG):
    """Returns (the tokens of a wrong image for each row, with a gradient; which rows these are)."""
    rows = len(x_GxNxD)
    blocks = itm.blocks_of(rows, 0)
    index_G, _ = itm.draw_negatives(
        jax.random.key(0), similarity_GxG, jnp.eye(rows, dtype=bool), hardness=1.0, blocks=blocks
    )

    def value(x):
        taken = itm.take_rows(x, index_G, blocks=blocks)
        return (taken * jnp.cos(x_GxNxD)).sum(), taken

    (_, taken), gradient = jax.value_and_grad(value, has_aux=True)(x_GxNxD)
    return taken, gradient, index_G


@pytest.mark.parametrize("rows, most", [(128, 64), (256, 64), (512, 0)])
def test_a_draw_costs_the_same_in_a_larger_batch_and_does_not_depend_on_the_mesh(rows, most):
    rng = np.random.default_rng(0)
    x, similarity = rng.normal(size=(rows, 6, 8)), rng.normal(size=(rows, rows))
    arguments = np.float32(x), np.float32(similarity)
    expected, _ = sent(
        take_wrong_ones, *arguments, rows=[1, 1], results=[1, 1, 1], mesh=mesh_of(1, 1)
    )
    for shape in ((8, 1), (4, 2)):
        found, largest = sent(
            take_wrong_ones, *arguments, rows=[1, 1], results=[1, 1, 1], mesh=mesh_of(*shape)
        )
        assert largest <= max(most * ROW, 4 * rows)  # at most a number for each row of the batch
        np.testing.assert_array_equal(found[2], expected[2])
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk", [0, 32])
def test_a_queue_that_every_device_has_is_not_sent(chunk):
    rng = np.random.default_rng(0)
    z, key, queue = (np.float32(rng.normal(size=(size, 8))) for size in (16, 16, 512))
    ids = np.int32(np.arange(2 * 528).reshape(-1, 2))

    def loss(z, key, queue, ids, queued_ids):
        keys = contrastive.joined(
            contrastive.batch_keys(key, ids), contrastive.batch_keys(queue, queued_ids)
        )
        momentum = contrastive.Momentum(key, 0.4)
        options = dict(momentum=momentum, gamma=2.0, focal_on="all", chunk=chunk)
        return contrastive.itc(z, ids, keys, 1.0, **options).mean()

    arguments = (z, key, queue, ids[:16], ids[16:])
    rows = [1, 1, 0, 1, 0]
    expected, _ = sent(
        jax.value_and_grad(loss), *arguments, rows=rows, results=[0, 1], mesh=mesh_of(1, 1)
    )
    found, largest = sent(
        jax.value_and_grad(loss), *arguments, rows=rows, results=[0, 1], mesh=mesh_of(8, 1)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )
    assert 0 < largest <= key.nbytes
