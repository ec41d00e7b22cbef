"""What is said to be float32 is float32 on every device, not TF32 or one pass of bfloat16."""

import jax
import jax.numpy as jnp
import pytest
from small import small_batch, small_config
from small_clip import small_clip_batch, small_clip_config

from jaxvl.methods import METHODS
from jaxvl.models import MODELS
from jaxvl.ops.dot import product

HIGHEST = jax.lax.Precision.HIGHEST


def products(jaxpr):
    """Yields (types of the operands, precision) of every matrix product."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            types = {str(operand.aval.dtype) for operand in equation.invars}
            yield types, equation.params["precision"]
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inner)


def step_of(method, dtype):
    config = small_clip_config() if method in ("clip", "ahnpl") else small_config()
    batch = small_clip_batch() if method in ("clip", "ahnpl") else small_batch()
    config.method = method
    config.model.product_dtype = config.model.activation_dtype = dtype
    if method == "softmask_ahnpl":
        batch = {**batch, **negatives(batch)}
    model = MODELS[config.model.name].make(config)
    step = METHODS[method].make(config, model, steps_per_epoch=10)
    params = jax.eval_shape(model.init, jax.random.key(0))
    slots = jax.eval_shape(step.init_slots, params)

    def loss(params, slots, batch):
        return step.forward(params, slots, batch, step=jnp.int32(5), key=jax.random.key(1))

    return jax.make_jaxpr(jax.grad(loss, has_aux=True))(params, slots, batch).jaxpr


def negatives(batch):
    ids, mask = batch["token_ids"][:, None], batch["token_mask"][:, None]
    valid = jnp.ones(ids.shape[:2], bool)
    number = 100 + jnp.arange(len(ids))[:, None]
    return {
        "negative_ids": ids,
        "negative_mask": mask,
        "negative_valid": valid,
        "negative_changed": mask,
        "negative_caption_id": number,
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["clip", "ahnpl", "albef", "softmask", "softmask_ahnpl"])
def test_every_product_of_float32_asks_for_float32(method, dtype):
    found = list(products(step_of(method, dtype)))
    wide = [precision for types, precision in found if types == {"float32"}]
    assert wide and all(precision in ((HIGHEST,) * 2, HIGHEST) for precision in wide)
    narrow = [types for types, _ in found if types == {"bfloat16"}]
    assert len(wide) + len(narrow) == len(found)  # no product of two types
    assert (len(narrow) > 10) == (dtype == "bfloat16")


@pytest.mark.parametrize("activation", ["float32", "bfloat16"])
def test_a_pass_that_is_explained_and_then_learned_from_has_the_gradient_of_float32(activation):
    keys = jax.random.normal(jax.random.key(0), (3, 1, 2, 5, 4), activation)  # of three layers
    first = jax.random.normal(jax.random.key(1), (1, 2, 6, 4), activation)

    def learned(first, keys, dtype):
        def layer(x, key):
            scores = product("GhLd,GhMd->GhLM", x, key, dtype=dtype)
            mixed = product("GhLM,GhMd->GhLd", jax.nn.softmax(scores), key, dtype=dtype)
            return x + mixed.astype(activation), None

        def matched(probe):
            return jax.lax.scan(layer, first + probe, keys)[0]

        out, pull_back = jax.vjp(matched, jnp.zeros_like(first))
        (relevance,) = pull_back(jnp.ones_like(first))
        return (out.astype("float32") ** 2).sum() + jax.lax.stop_gradient(relevance).sum()

    gradient = jax.jit(jax.grad(learned, argnums=(0, 1)), static_argnums=2)
    for narrow, wide in zip(gradient(first, keys, "bfloat16"), gradient(first, keys, "float32")):
        assert narrow.dtype == activation
        norm = jnp.linalg.norm((narrow - wide).astype("float32"))
        assert norm < 0.02 * jnp.linalg.norm(wide.astype("float32"))
