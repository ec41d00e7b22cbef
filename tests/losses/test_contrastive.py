"""The contrastive loss in chunks equals the whole one in value and gradient, in all its forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvl.losses import chunks, contrastive
from jaxvl.losses.contrastive import NO_ID, Keys, Momentum, pair_ids

RNG = np.random.default_rng(0)
ROWS, KEYS, WIDTH = 6, 23, 8  # 6 captions, 6 of a queue, 11 hard negatives
IMAGE_ID = np.array([0, 1, 2, 3, 1, 5])
# The queue has image 0 again, and after it a key of image 3 that does not exist.
KEY_ID = np.array([*IMAGE_ID, 7, 0, 3, 9, -1, 4, *[-1] * 11])
EXISTS = np.array([True] * 8 + [False, True, False, True] + [True, False, True] * 3 + [False, True])


def unit(*shape):
    x = RNG.normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


Z, MOMENTUM, KEY = unit(ROWS, WIDTH), unit(ROWS, WIDTH), unit(KEYS, WIDTH)
FORMS = {
    "plain": dict(gamma=0.0, focal_on="all", distill=0.0),
    "focal on all, soft": dict(gamma=1.5, focal_on="all", distill=0.4),
    "focal on the target, soft": dict(gamma=2.0, focal_on="target", distill=0.4),
    "gamma below 1": dict(gamma=0.5, focal_on="all", distill=0.4),
    "gamma below 1 on the target": dict(gamma=0.5, focal_on="target", distill=0.4),
}


def losses(z, key, scale, *, chunk, gamma, focal_on, distill, exists=EXISTS):
    keys = Keys(key, pair_ids(jnp.asarray(KEY_ID)), jnp.asarray(exists))
    momentum = Momentum(jnp.asarray(MOMENTUM), distill) if distill else None
    return contrastive.itc(
        z,
        pair_ids(jnp.asarray(IMAGE_ID)),
        keys,
        scale,
        momentum=momentum,
        gamma=gamma,
        focal_on=focal_on,
        chunk=chunk,
    )


def value_and_gradient(chunk, form):
    weights = jnp.arange(1.0, ROWS + 1)  # so that exchanged rows would be noticed

    @jax.jit
    def run(z, key, scale):
        return jax.value_and_grad(
            lambda *x: (losses(*x, chunk=chunk, **form) * weights).sum(), argnums=(0, 1, 2)
        )(z, key, scale)

    return run(Z, KEY, jnp.float32(9.0))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_chunks_have_the_value_and_the_gradient_of_the_whole(form):
    whole = value_and_gradient(0, form)
    for chunk in (5, 30):  # of 23 keys: the last chunk of 5 is short, a chunk of 30 is too long
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            value_and_gradient(chunk, form),
            whole,
        )


@pytest.mark.parametrize("focal_on", ["all", "target"])
@pytest.mark.parametrize("chunk", [0, 1])
def test_the_gradient_is_finite_where_a_probability_is_one_and_gamma_below_one(focal_on, chunk):
    ids, rows = pair_ids(jnp.arange(3)), jnp.asarray([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    logits = 200.0 * rows @ rows.T
    assert (np.asarray(jax.nn.softmax(logits)).max(-1) == 1.0).all()

    def total(z, key, scale):
        keys, momentum = Keys(key, ids, jnp.ones(3, bool)), Momentum(rows[::-1], 0.4)
        form = dict(momentum=momentum, gamma=0.5, focal_on=focal_on, chunk=chunk)
        return contrastive.itc(z, ids, keys, scale, **form).sum()

    value, gradient = jax.value_and_grad(total, argnums=(0, 1, 2))(rows, rows, 200.0)
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in gradient)


def numpy_itc(distill):
    """Returns -sum_j y_ij log p_ij of each row, from the equation."""
    logits = 9.0 * Z.astype(np.float64) @ KEY.T
    result = []
    for i in range(ROWS):
        there = [j for j in range(KEYS) if EXISTS[j]]
        total = sum(np.exp(logits[i, j]) for j in there)
        true = [j for j in there if KEY_ID[j] >= 0]
        soft = {j: np.exp(9.0 * float(MOMENTUM[i] @ KEY[j])) for j in true}
        mine = [j for j in true if KEY_ID[j] == IMAGE_ID[i]]
        y = {j: distill * soft[j] / sum(soft.values()) for j in true}
        for j in mine:
            y[j] += (1 - distill) / len(mine)
        result.append(-sum(y[j] * (logits[i, j] - np.log(total)) for j in true))
    return result


@pytest.mark.parametrize("distill", [0.0, 0.4])
def test_hard_negatives_are_keys_and_never_a_target(distill):
    form = dict(gamma=0.0, focal_on="all", distill=distill)
    np.testing.assert_allclose(losses(Z, KEY, 9.0, chunk=0, **form), numpy_itc(distill), rtol=1e-5)


def test_keys_that_do_not_exist_change_nothing():
    other = np.where(EXISTS[:, None], KEY, unit(KEYS, WIDTH))
    for chunk, form in itertools.product((0, 5), (FORMS["plain"], FORMS["focal on all, soft"])):
        np.testing.assert_array_equal(
            losses(Z, jnp.asarray(other), 9.0, chunk=chunk, **form),
            losses(Z, jnp.asarray(KEY), 9.0, chunk=chunk, **form),
        )


def test_a_log_sum_exp_over_nothing_has_no_gradient():
    nothing = jnp.zeros(KEYS, bool)

    def run(z, key):
        lse = chunks.log_sum_exp(z, key, nothing, 9.0, chunk=5)
        return lse.sum(), lse

    gradient, lse = jax.grad(run, argnums=(0, 1), has_aux=True)(Z, KEY)
    assert (lse < -1e8).all()
    jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), gradient)


def test_the_matrix_of_all_logits_is_never_in_memory():
    rows, keys, chunk = 256, 2048, 64
    ids = pair_ids(jnp.arange(keys))

    def run(z, key, chunk):
        keys = Keys(key, ids, jnp.ones(len(key), bool))
        return contrastive.itc(
            z, ids[:rows], keys, 9.0, momentum=None, gamma=2.0, focal_on="all", chunk=chunk
        ).sum()

    shapes = [jax.ShapeDtypeStruct((n, WIDTH), jnp.float32) for n in (rows, keys)]
    step = jax.jit(jax.grad(run, argnums=(0, 1)), static_argnums=2)
    used = [
        step.lower(*shapes, c).compile().memory_analysis().temp_size_in_bytes for c in (0, chunk)
    ]
    assert used[0] >= 4 * rows * keys > 2 * used[1]


@pytest.mark.parametrize("chunk", [0, 2])
def test_keys_with_the_caption_of_a_row_are_its_positives_too(chunk):
    rows = pair_ids(jnp.asarray([0, 1, 2]), jnp.asarray([50, 51, 50]))  # 0 and 2 share a caption
    queued = pair_ids(jnp.asarray([7]), jnp.asarray([51]))  # has the caption of row 1
    false = pair_ids(jnp.asarray([NO_ID, NO_ID]), jnp.asarray([50, 99]))  # reads like rows 0 and 2
    keys = Keys(jnp.asarray(KEY[:6]), jnp.concatenate([rows, queued, false]), jnp.ones(6, bool))
    form = dict(momentum=None, gamma=0.0, focal_on="all", chunk=chunk)
    log_p = jax.nn.log_softmax(9.0 * Z[:3] @ KEY[:6].T)
    right = np.array([[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0]])
    expected = -(right * log_p).sum(1) / right.sum(1)
    np.testing.assert_allclose(contrastive.itc(Z[:3], rows, keys, 9.0, **form), expected, rtol=1e-5)


def test_nothing_belongs_together_by_an_id_that_is_missing():
    alone = pair_ids(jnp.asarray([NO_ID, 1]))
    np.testing.assert_array_equal(contrastive.belong(alone, alone), [[False, False], [False, True]])
