"""Unit vectors and means, products, random draws, Grad-CAM and soft masks."""

from types import SimpleNamespace

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvl.ops import gradcam, soft_mask
from jaxvl.ops.arrays import masked_mean, unit
from jaxvl.ops.dot import product
from jaxvl.ops.rng import keep_mask, stream


def test_a_vector_of_zeros_has_a_finite_gradient():
    np.testing.assert_allclose((unit(jnp.asarray([[3.0, 4.0]])) ** 2).sum(), 1, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(jnp.zeros((2, 3)))).all()


def test_a_mean_without_any_weight_is_zero():
    assert masked_mean(jnp.ones(3), jnp.zeros(3)) == 0
    assert masked_mean(jnp.asarray([1.0, 2.0, 6.0]), jnp.asarray([False, True, True])) == 4


@pytest.mark.parametrize("spec", ["ri,io->ro", "GLhd,GMhd->GhLM", "GhLM,GMhd->GLhd"])
def test_bfloat16_products_agree_with_float32_ones_forward_and_backward(spec):
    sizes = dict(r=5, i=7, o=3, G=2, L=4, M=6, h=2, d=8)
    letters = spec.split("->")[0].split(",")
    a, b = (
        jax.random.normal(jax.random.key(i), [sizes[x] for x in one])
        for i, one in enumerate(letters)
    )

    def value(dtype):
        return jax.value_and_grad(
            lambda a, b: jnp.sin(product(spec, a, b, dtype=dtype)).sum(), argnums=(0, 1)
        )

    (wide, wide_grads), (narrow, narrow_grads) = (value(t)(a, b) for t in ("float32", "bfloat16"))
    np.testing.assert_allclose(narrow, wide, atol=0.5)
    for one, other in zip(narrow_grads, wide_grads):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, atol=0.25)


def test_bfloat16_products_have_bfloat16_inputs_in_the_backward_pass_too():
    a, b = jnp.ones((4, 8)), jnp.ones((8, 2))
    gradient = jax.grad(lambda a, b: product("ri,io->ro", a, b, dtype="bfloat16").sum(), (0, 1))
    dots = [
        e
        for e in _equations(jax.make_jaxpr(gradient)(a, b).jaxpr)
        if e.primitive.name == "dot_general"
    ]
    assert len(dots) == 3
    for dot in dots:
        assert {str(v.aval.dtype) for v in dot.invars} == {"bfloat16"}
        assert dot.outvars[0].aval.dtype == jnp.float32


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _equations(inner)


def test_dropout_keeps_its_share_and_streams_are_independent():
    key = jax.random.key(3)
    first, second = (
        np.asarray(keep_mask(stream(key, name), 0.1, (200, 300))) for name in ("a", "b")
    )
    assert abs(first.mean() - 0.9) < 0.005
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    for axis in (0, 1):  # rows and columns are independent too
        neighbours = np.corrcoef(
            np.take(first, range(0, 200, 2), axis).ravel(),
            np.take(first, range(1, 200, 2), axis).ravel(),
        )
        assert abs(neighbours[0, 1]) < 0.02


WORDS = jnp.asarray([[-1, 0, 1, 1, 2, -1], [-1, 0, 0, 0, 1, 2], [-1, -1, -1, -1, -1, -1]])


def test_every_word_is_drawn_equally_often_however_many_pieces_it_has():
    eligible = WORDS >= 0
    keys = jax.random.split(jax.random.key(0), 6_000)
    shares, found = jax.vmap(lambda k: soft_mask.choose_words(k, WORDS, eligible))(keys)
    np.testing.assert_array_equal(found[0], [True, True, False])
    chosen = (shares[:, 1] > 0).astype(int)
    np.testing.assert_allclose(chosen[:, 1].mean(), 1 / 3, atol=0.03)  # word 0: three pieces
    np.testing.assert_allclose(chosen[:, 5].mean(), 1 / 3, atol=0.03)
    np.testing.assert_allclose(shares[:, :2].sum(-1), 1, rtol=1e-6)
    assert not shares[:, 2].any()


def test_tokens_that_are_not_eligible_are_never_drawn():
    eligible = (WORDS >= 0) & (jnp.arange(6)[None] != 3)
    for seed in range(20):
        share, _ = soft_mask.choose_words(jax.random.key(seed), WORDS, eligible)
        assert not share[:, 3].any() and not share[:, 0].any()


def test_relevance_is_scaled_to_0_to_1_and_a_constant_map_masks_nothing():
    relevance = jnp.asarray([[1e-9, 3e-9, 2e-9], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        soft_mask.normalise_relevance(relevance), [[0, 1, 0.5], [0, 0, 0], [0, 0, 0]], atol=1e-5
    )


def test_the_class_token_is_never_attenuated():
    keep = soft_mask.keep_factors(jnp.asarray([[0.0, 1.0, 0.5]]), 0.8)
    np.testing.assert_allclose(keep, [[1.0, 1.0, 0.2, 0.6]], rtol=1e-6)


def linear_scorer(weight_hxLxN):
    """Returns a model whose match logit is linear in its attention, so its gradient is known."""

    def fuse(params, keys, t, mask, *, key, keep_GxN, probe, layer, first_only):
        attention = jax.nn.softmax(keys)
        attention = attention if probe is None else attention + probe
        return (attention * params[None]).sum((1, 2, 3))[:, None, None], attention

    def logits(params, states):
        return jnp.concatenate([-states[:, 0], states[:, 0]], axis=-1)

    return SimpleNamespace(fuse=fuse, match_logits=logits), weight_hxLxN


def test_relevance_of_a_linear_scorer_is_attention_times_its_positive_weights():
    weight = jax.random.normal(jax.random.key(0), (2, 3, 5))
    keys = jax.random.normal(jax.random.key(1), (4, 2, 3, 5))
    model, params = linear_scorer(weight)
    relevance, _ = gradcam.word_relevance(model, params, keys, None, None, layer=0, score="logit")
    expected = (jax.nn.softmax(keys) * jax.nn.relu(weight)[None]).mean(1)[..., 1:]
    np.testing.assert_allclose(relevance, expected, rtol=1e-6)


def test_no_gradient_flows_through_the_relevance():
    model, params = linear_scorer(jnp.ones((2, 3, 5)))
    keys = jax.random.normal(jax.random.key(1), (4, 2, 3, 5))

    def through(keys):
        matched = gradcam.match_and_explain(
            model, params, keys, None, None, layer=0, score="logit", key=None
        )
        return matched.relevance_GxLxP.sum()

    assert not jax.grad(through)(keys).any()


def test_the_pieces_of_a_word_get_their_mean():
    relevance = jnp.arange(6.0)[None, :, None] * jnp.ones((1, 6, 2))
    merged = gradcam.merge_pieces(relevance, WORDS[:1])
    np.testing.assert_allclose(merged[0, :, 0], [0, 1, 2.5, 2.5, 4, 0])
