"""CLIP's model: published sizes, a causal text encoder, the token that gives the embedding."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_clip import END, LENGTH, small_clip_batch, small_clip_config

from jaxvl.config import base
from jaxvl.models import MODELS
from jaxvl.models.clip import end_of_text
from jaxvl.models.layers import ACTIVATIONS, Numerics
from jaxvl.models.vit import make_vit
from jaxvl.sharding import path_name

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small():
    config = small_clip_config()
    model = MODELS["clip"].make(config)
    return config, model, jax.jit(model.init)(jax.random.key(0)), small_clip_batch(4)


def published(*, patch, layers, width, text_width, embed):
    config = base()
    config.data.image_size = 224
    config.model.embed_size = embed
    config.model.image.update(
        patch_size=patch, layers=layers, width=width, heads=width // 64, mlp_width=4 * width
    )
    config.model.text.update(
        layers=12,
        width=text_width,
        heads=text_width // 64,
        mlp_width=4 * text_width,
        positions=77,
        vocabulary_size=49_408,
    )
    return config


@pytest.mark.parametrize(
    "sizes, count",
    [
        (dict(patch=32, layers=12, width=768, text_width=512, embed=512), 151_277_313),  # B/32
        (dict(patch=16, layers=12, width=768, text_width=512, embed=512), 149_620_737),  # B/16
        (dict(patch=14, layers=24, width=1024, text_width=768, embed=768), 427_616_513),  # L/14
    ],
)
def test_published_sizes_have_the_published_numbers_of_parameters(sizes, count):
    shapes = jax.eval_shape(MODELS["clip"].make(published(**sizes)).init, jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def encode(model, params, ids):
    call = jax.jit(lambda params, ids: model.encode_text(params, ids, None, key=None))
    return np.asarray(call(params, ids))


def embed_image(model, params, image):
    call = jax.jit(lambda params, x: model.project_image(params, model.encode_image(params, x)))
    return np.asarray(call(params, image))


def test_later_tokens_do_not_change_earlier_ones(small):
    _, model, params, batch = small
    ids = batch["token_ids"]
    changed = encode(model, params, ids.at[:, 5].set(ids[:, 5] + 1))
    states = encode(model, params, ids)
    np.testing.assert_allclose(changed[:, :5], states[:, :5], atol=1e-6)
    assert (np.abs(changed[:, 5:] - states[:, 5:]).max(axis=(0, 2)) > 1e-3).all()


def test_the_embedding_is_read_at_the_end_of_the_text_and_padding_changes_nothing(small):
    _, model, params, batch = small
    ids = batch["token_ids"]
    whole = model.project_text(params, encode(model, params, ids), ids)
    end = (np.asarray(ids[0]) == END).argmax()
    assert 1 < end < LENGTH - 1
    states = encode(model, params, ids[:1, : end + 1])
    z = states[0, -1] @ np.asarray(params["text_projection"]["kernel"])
    np.testing.assert_allclose(whole[0], z / np.linalg.norm(z), atol=1e-6)


def test_the_end_is_the_first_end_token_or_the_largest_id():
    ids = jnp.asarray([[8, 5, 9, 9], [8, 9, 3, 1]])
    np.testing.assert_array_equal(end_of_text(ids, 9), [2, 1])
    np.testing.assert_array_equal(end_of_text(ids, -1), [2, 1])
    np.testing.assert_array_equal(end_of_text(ids, 1), [0, 3])  # the first text has none


def test_gelu_and_quick_gelu_equal_their_equations_and_differ_in_the_model(small):
    x = jnp.linspace(-4, 4, 9)
    erf = np.array([math.erf(value / math.sqrt(2)) for value in x.tolist()])
    np.testing.assert_allclose(ACTIVATIONS["gelu"](x), x * (1 + erf) / 2, atol=1e-6)
    np.testing.assert_allclose(
        ACTIVATIONS["quick_gelu"](x), x / (1 + np.exp(-1.702 * x)), atol=1e-6
    )
    config, model, params, batch = small
    other = config.copy_and_resolve_references()
    other.model.activation = "quick_gelu"
    quick = MODELS["clip"].make(other)
    for tower, given in ((encode, batch["token_ids"]), (embed_image, batch["image"])):
        assert np.abs(tower(model, params, given) - tower(quick, params, given)).max() > 1e-4


@pytest.mark.parametrize("key, value", [("scan_layers", False), ("remat", True)])
def test_results_do_not_depend_on_how_layers_are_run(small, key, value):
    config, model, params, batch = small
    other = config.copy_and_resolve_references()
    other.model[key] = value

    def run(model):
        def loss(params):
            t = model.encode_text(params, batch["token_ids"], None, key=None)
            return (t**2 * jnp.arange(t.shape[-1])[None, None]).sum(), t

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    (gradient, states), (same_gradient, same_states) = run(model), run(MODELS["clip"].make(other))
    np.testing.assert_allclose(same_states, states, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
        same_gradient,
        gradient,
    )


def test_bfloat16_stays_close_to_float32(small):
    config, model, params, batch = small
    narrow = config.copy_and_resolve_references()
    narrow.model.product_dtype = narrow.model.activation_dtype = "bfloat16"
    narrow = MODELS["clip"].make(narrow)
    image, ids = batch["image"], batch["token_ids"]
    z, narrow_z = (embed_image(m, params, image) for m in (model, narrow))
    np.testing.assert_allclose(narrow_z, z, atol=0.05)
    assert narrow_z.dtype == np.float32  # losses are computed from float32 embeddings
    states = encode(narrow, params, ids)
    assert states.dtype == jnp.bfloat16
    np.testing.assert_allclose(states.astype(np.float32), encode(model, params, ids), atol=0.2)


@pytest.mark.parametrize("remat", [False, True])
def test_the_image_embedding_is_that_of_the_class_token_after_all_blocks(small, remat):
    config, model, params, batch = small
    config = config.copy_and_resolve_references()
    config.model.remat = remat
    model = MODELS["clip"].make(config)
    whole = make_vit(
        config.model.image,
        image_size=config.data.image_size,
        numerics=Numerics("float32", "float32"),
        scan=True,
        remat=False,
        epsilon=1e-5,
        activation=config.model.activation,
        pre_norm=True,
    )

    def embedded(params):
        return model.project_image(params, model.encode_image(params, batch["image"]))

    def embedded_by_all(params):
        v = whole.encode(params["image"], batch["image"])[:, 0]
        z = v @ params["image_projection"]["kernel"]
        return z / jnp.linalg.norm(z, axis=-1, keepdims=True)

    def with_gradient(function):
        weights = jnp.arange(config.model.embed_size, dtype=jnp.float32)[None]
        return jax.jit(jax.value_and_grad(lambda p: (function(p) * weights).sum()))(params)

    (found, gradient), (expected, of_all) = map(with_gradient, (embedded, embedded_by_all))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), gradient, of_all)


def test_the_probe_is_added_to_the_attention_that_the_embedding_is_made_of(small):
    _, model, params, batch = small
    v = model.encode_image(params, batch["image"])
    z, attention = model.look(params, v, None)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-5)
    same, _ = model.look(params, v, jnp.zeros(attention.shape))
    np.testing.assert_allclose(same, z, atol=1e-6)
    # Without any attention to them, the patches of another image change nothing.
    other = v.at[:, 1:].set(v[::-1, 1:])
    none, _ = model.look(params, v, -attention)
    _, attention_to_other = model.look(params, other, None)
    none_of_other, _ = model.look(params, other, -attention_to_other)
    np.testing.assert_allclose(none, none_of_other, atol=1e-5)
    assert np.abs(none - z).max() > 1e-3


def test_every_parameter_has_a_partition_rule_and_the_tree_is_the_published_one(small):
    import re

    _, model, params, _ = small
    paths = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for name, leaf in paths.items():
        if leaf.ndim:
            spec = next(s for pattern, s in model.partition_rules if re.search(pattern, name))
            assert len(spec) <= leaf.ndim, name
    assert "image/embedding/projection/bias" not in paths
    assert {"image/pre_norm/scale", "text/norm/bias", "text/embedding/positions"} <= set(paths)
    np.testing.assert_allclose(params["logit_scale"], math.log(1 / 0.07), rtol=1e-6)
