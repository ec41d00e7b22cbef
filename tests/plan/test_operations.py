"""Operations counted from the traced program, whatever loops and choices it has."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxvl.plan import program
from jaxvl.plan.operations import ROUNDED, operations


def count(function, *shapes):
    return operations(jax.jit(function).trace(*(jnp.zeros(shape) for shape in shapes)).jaxpr)


def test_a_product_has_two_operations_for_each_term():
    assert count(lambda a, b: a @ b, (3, 4), (4, 5)) == {ROUNDED: 2 * 3 * 4 * 5}
    image, kernel = (2, 8, 8, 3), (2, 2, 3, 5)
    counted = count(
        lambda x, k: lax.conv_general_dilated(
            x, k, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        image,
        kernel,
    )
    assert counted == {ROUNDED: 2 * (2 * 4 * 4 * 5) * (2 * 2 * 3)}


def test_products_count_by_what_the_chip_multiplies():
    assert count(lambda a, b: jnp.matmul(a, b, precision="highest"), (3, 4), (4, 5)) == {
        "float32": 2 * 3 * 4 * 5
    }
    narrow = count(lambda a, b: a.astype(jnp.bfloat16) @ b.astype(jnp.bfloat16), (3, 4), (4, 5))
    assert narrow == {"bfloat16": 2 * 3 * 4 * 5}


def test_loops_count_as_often_as_they_run_and_of_a_choice_the_most():
    scanned = count(lambda x, w: lax.scan(lambda x, w: (x @ w, None), x, w)[0], (3, 4), (6, 4, 4))
    assert scanned == {ROUNDED: 6 * 2 * 3 * 4 * 4}
    chosen = count(
        lambda x, w: lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w), (3, 4), (4, 4)
    )
    assert chosen == {ROUNDED: 2 * 2 * 3 * 4 * 4}


@pytest.mark.slow
def test_the_count_of_a_step_is_that_of_the_compiler_without_loops(tiny_config):
    """The compiler counts other operations too, and the body of a loop once: so not with loops."""
    tiny_config.model.image.layers = tiny_config.model.text.layers = 2

    def lowered(*, scan):
        tiny_config.model.scan_layers = scan
        made = program.make(tiny_config, jax.devices(), processes=1)
        traced = made.train_step.trace(made.abstract, made.batch)
        return sum(operations(traced.jaxpr).values()), traced.lower().cost_analysis()["flops"]

    (scanned, once), (unrolled, compiler) = lowered(scan=True), lowered(scan=False)
    assert scanned == unrolled
    assert 1 < compiler / unrolled < 1.3  # of a model this small; at published sizes 1.03
    assert once < 0.9 * compiler
