"""The sigmoid contrastive loss: against NumPy, in chunks, in a step, and refused options.

Letters: R rows, M keys, E embedding.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config
from small_clip import small_clip_batch, small_clip_config

from jaxvl.errors import UserError
from jaxvl.losses import contrastive, sigmoid
from jaxvl.methods import METHODS
from jaxvl.models import MODELS
from jaxvl.validate import validate

SCALE, BIAS = 4.0, -1.5
RNG = np.random.default_rng(0)
Z_RxE = RNG.normal(size=(3, 4)).astype(np.float32)
KEYS_MxE = RNG.normal(size=(7, 4)).astype(np.float32)
ROW_IMAGES = np.array([10, 11, 12])
# Row 0 has two positives; key 4 is a hard negative, key 5 shows another image, key 6 is absent.
KEY_IMAGES = np.array([10, 11, 12, 10, -1, 99, 11])
EXISTS = np.array([True] * 6 + [False])
KEYS = contrastive.Keys(KEYS_MxE, contrastive.pair_ids(jnp.asarray(KEY_IMAGES)), EXISTS)
ROW_IDS = contrastive.pair_ids(jnp.asarray(ROW_IMAGES))


def in_numpy():
    total = np.zeros(3)
    for row in range(3):
        for key in range(6):
            logit = SCALE * Z_RxE[row] @ KEYS_MxE[key] + BIAS
            sign = 1 if KEY_IMAGES[key] == ROW_IMAGES[row] else -1
            total[row] += np.log1p(np.exp(-sign * logit))
    return total


@pytest.mark.parametrize("chunk", [0, 1, 3, 7, 100])
def test_it_equals_its_equation(chunk):
    loss_R = sigmoid.itc(Z_RxE, ROW_IDS, KEYS, SCALE, bias=BIAS, chunk=chunk)
    np.testing.assert_allclose(loss_R, in_numpy(), rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_chunks_have_the_gradient_of_the_whole(chunk):
    def gradient(chunk):
        def loss(z_RxE, keys_MxE, scale, bias):
            keys = KEYS._replace(z_MxE=keys_MxE)
            return sigmoid.itc(z_RxE, ROW_IDS, keys, scale, bias=bias, chunk=chunk).sum()

        return jax.grad(loss, argnums=(0, 1, 2, 3))(jnp.asarray(Z_RxE), KEYS_MxE, SCALE, BIAS)

    for part, whole in zip(gradient(chunk), gradient(0), strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-5)


def test_absent_keys_have_no_gradient():
    def loss(keys_MxE):
        keys = KEYS._replace(z_MxE=keys_MxE)
        return sigmoid.itc(Z_RxE, ROW_IDS, keys, SCALE, bias=BIAS, chunk=0).sum()

    gradient_MxE = jax.grad(loss)(jnp.asarray(KEYS_MxE))
    assert not gradient_MxE[6].any() and gradient_MxE[:6].any(axis=1).all()


def test_a_step_learns_the_bias_with_it():
    config = small_clip_config()
    config.loss.contrastive, config.loss.sigmoid_bias = "sigmoid", -3.0
    model = MODELS["clip"].make(config)
    method = METHODS["clip"].make(config, model, steps_per_epoch=1)
    params = jax.jit(model.init)(jax.random.key(0))
    assert params["contrastive"]["bias"] == -3.0

    def loss(params):
        return method.forward(params, {}, small_clip_batch(), step=0, key=jax.random.key(0))[0]

    gradient = jax.jit(jax.grad(loss))(params)
    assert gradient["contrastive"]["bias"] != 0 and gradient["logit_scale"] != 0


@pytest.mark.parametrize(
    "method, key, message",
    [
        ("albef", "momentum.distill", "momentum.distill=0.4, but loss.contrastive='sigmoid'"),
        ("softmask", "softmask.focal_gamma", "softmask.focal_gamma=2.0, but loss.contrastive="),
    ],
)
def test_an_option_that_it_lacks_is_refused(method, key, message):
    config = small_config()
    config.method, config.loss.contrastive, config.data.dir = method, "sigmoid", "somewhere"
    config.momentum.distill = 0.4 if key == "momentum.distill" else 0.0
    config.eval.batch_size = 8
    with pytest.raises(UserError, match=message):
        validate(config, devices=1, processes=1)
