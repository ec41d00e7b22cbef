"""ALBEF's model: published size, results that do not depend on how it is run, attention."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_batch, small_config

from jaxvl.config import base
from jaxvl.models import MODELS, vit
from jaxvl.models.layers import Numerics, SelfAttention
from jaxvl.sharding import path_name

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small():
    config = small_config()
    model = MODELS["albef"].make(config)
    return config, model, model.init(jax.random.key(0)), small_batch(4)


def fused(model, params, batch, **changes):
    v = model.encode_image(params, batch["image"])
    t = model.encode_text(params, batch["token_ids"], batch["token_mask"], key=None)
    call = {"key": None, "keep_GxN": None, "probe": None, "layer": None, "first_only": False}
    keys = model.image_keys(params, v)
    return model.fuse(params, keys, t, batch["token_mask"], **{**call, **changes})


def test_published_size_has_the_published_number_of_parameters():
    config = base()
    config.model.text.vocabulary_size = 30_522
    shapes = jax.eval_shape(MODELS["albef"].make(config).init, jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == 209_937_725  # 209.9 M


@pytest.mark.parametrize("key,value", [("scan_layers", False), ("remat", True)])
def test_results_do_not_depend_on_how_layers_are_run(small, key, value):
    config, _, _, batch = small
    config = config.copy_and_resolve_references()
    config.model.text.update(layers=2, dropout=0.2)
    params = jax.jit(MODELS["albef"].make(config).init)(jax.random.key(0))
    other = config.copy_and_resolve_references()
    other.model[key] = value

    def run(config, dropout_keys):
        model = MODELS["albef"].make(config)

        @jax.jit
        @jax.value_and_grad
        def loss(params, dropout_key):
            t = model.encode_text(params, batch["token_ids"], batch["token_mask"], key=dropout_key)
            return (t**2 * jnp.arange(t.shape[-1])[None, None]).sum()

        return [loss(params, dropout_key) for dropout_key in dropout_keys]

    keys = jax.random.split(jax.random.key(1))
    found, expected = run(other, keys), run(config, keys)
    for (loss, gradient), (expected_loss, expected_gradient) in zip(found, expected):
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
            gradient,
            expected_gradient,
        )
    assert abs(found[0][0] - found[1][0]) > 1e-3 * abs(found[0][0])  # dropout draws with the key


def test_returning_a_layers_attention_changes_no_state(small):
    _, model, params, batch = small
    states, _ = fused(model, params, batch)
    for layer in range(3):
        same, attention = fused(model, params, batch, layer=layer)
        np.testing.assert_allclose(same, states, atol=1e-5)
        np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


def test_padding_changes_nothing(small):
    _, model, params, batch = small
    longer = dict(batch)
    pad = ((0, 0), (0, 3))
    longer["token_ids"] = jnp.pad(batch["token_ids"], pad, constant_values=7)
    longer["token_mask"] = jnp.pad(batch["token_mask"], pad)
    states, longer_states = fused(model, params, batch)[0], fused(model, params, longer)[0]
    np.testing.assert_allclose(longer_states[:, 0], states[:, 0], atol=1e-5)


def test_attenuated_keys_equal_the_keys_of_attenuated_tokens(small):
    _, model, params, batch = small
    rng = np.random.default_rng(0)
    keep = jnp.asarray(rng.uniform(size=(4, 17)), jnp.float32)
    v = model.encode_image(params, batch["image"])
    t = model.encode_text(params, batch["token_ids"], batch["token_mask"], key=None)
    # The biases must not be zero: those of keys and values must not be attenuated.
    params = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), params)
    call = {"key": None, "probe": None, "layer": None, "first_only": False}
    by_token, _ = model.fuse(
        params,
        model.image_keys(params, v * keep[:, :, None]),
        t,
        batch["token_mask"],
        keep_GxN=None,
        **call,
    )
    by_factor, _ = model.fuse(
        params, model.image_keys(params, v), t, batch["token_mask"], keep_GxN=keep, **call
    )
    np.testing.assert_allclose(by_factor, by_token, atol=1e-4)


def test_embeddings_have_unit_length(small):
    _, model, params, batch = small
    zi = model.project_image(params, model.encode_image(params, batch["image"]))
    np.testing.assert_allclose((zi**2).sum(-1), 1, rtol=1e-5)


def test_bfloat16_stays_close_to_float32(small):
    config, model, params, batch = small
    narrow = config.copy_and_resolve_references()
    narrow.model.product_dtype = narrow.model.activation_dtype = "bfloat16"
    wide_states, _ = fused(model, params, batch)
    narrow_states, _ = fused(MODELS["albef"].make(narrow), params, batch)
    np.testing.assert_allclose(narrow_states, wide_states, atol=0.1)


def test_positions_are_interpolated_and_the_class_position_kept():
    grid = np.linspace(0, 1, 36).reshape(6, 6)
    positions = np.concatenate([[7.0], grid.ravel()])[None, :, None].astype(np.float32)
    larger = vit.interpolate_positions(jnp.asarray(positions), 145)
    assert larger.shape == (1, 145, 1) and larger[0, 0, 0] == 7
    inner = np.asarray(larger[0, 1:, 0]).reshape(12, 12)[4:8, 4:8]
    slopes = np.diff(inner, axis=1)  # PyTorch's kernel keeps the slope of a plane on average only
    assert (slopes > 0).all() and abs(slopes.mean() - 1 / 70) < 2e-3
    kernel = np.array([0, -27, 225, 67, -9, 0]) / 256  # of Keys 1981 with a = -0.75, at a quarter
    np.testing.assert_allclose(vit.cubic_weights(6, 12)[5], kernel, atol=1e-6)
    np.testing.assert_array_equal(vit.interpolate_positions(positions, 37), positions)
    with pytest.raises(ValueError, match="37 -> 60"):
        vit.interpolate_positions(positions, 60)


def test_every_parameter_has_a_partition_rule_that_fits(small):
    import re

    _, model, params, _ = small
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path_name(path)
        spec = next(s for pattern, s in model.partition_rules if re.search(pattern, name))
        assert len(spec) <= leaf.ndim, name


def test_the_first_token_alone_equals_that_of_the_whole_pass(small):
    _, model, params, batch = small
    whole, _ = fused(model, params, batch)
    first, _ = fused(model, params, batch, first_only=True)
    np.testing.assert_allclose(first, whole[:, :1], atol=1e-5)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_attention_is_the_mean_under_a_softmax_for_small_and_large_scores(size):
    attention = SelfAttention(2, Numerics("float32", "float32"), 0.0)
    x = jax.random.normal(jax.random.key(0), (1, 5, 8))
    params = attention.init(jax.random.key(1), x, None, None)["params"]
    kernel = np.asarray(params["qkv"]["kernel"], np.float64)
    kernel[:, :8] *= size  # of the queries alone
    params["qkv"]["kernel"] = jnp.asarray(kernel, jnp.float32)
    query, key, value = np.split(np.asarray(x[0], np.float64) @ kernel, 3, axis=-1)
    mixed = np.empty((5, 8))
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[:, head] @ key[:, head].T / 2
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed[:, head] = weights @ value[:, head] / weights.sum(-1, keepdims=True)
    out, weights_1xhxLxL = attention.apply({"params": params}, x, None, None)
    expected = mixed @ np.asarray(params["out"]["kernel"], np.float64)
    np.testing.assert_allclose(out[0], expected, atol=1e-4)
    np.testing.assert_allclose(
        weights_1xhxLxL[0, 1], weights / weights.sum(-1, keepdims=True), atol=1e-5
    )
