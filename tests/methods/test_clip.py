"""Plain CLIP: its loss, the texts of a batch in one call, the logit scale, overfitting."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from small_clip import KINDS, small_clip_batch, small_clip_config

from jaxvl import sharding
from jaxvl.losses import contrastive, make_contrast
from jaxvl.methods import METHODS, clip
from jaxvl.models import MODELS
from jaxvl.training.optim import decay_mask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small():
    config = small_clip_config()
    model = MODELS["clip"].make(config)
    return config, model, jax.jit(model.init)(jax.random.key(0)), small_clip_batch()


@pytest.fixture(scope="module")
def embedded(small):
    _, model, params, batch = small
    call = jax.jit(lambda p, b: clip.encode(model, p, b, negatives=True))
    return call(params, batch)


def rows(rng, count):
    z = rng.normal(size=(count, 4))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def embeddings(seed=0, count=6):
    rng = np.random.default_rng(seed)
    return clip.Embeddings(rows(rng, count), rows(rng, count), None)


def itc(z, image_id):
    ids = contrastive.pair_ids(image_id)
    params = {"logit_scale": jnp.log(5.0)}
    contrast_rows = make_contrast(small_clip_config())
    return clip.itc(contrast_rows, params, z, ids, contrastive.batch_keys(z.zt_GxE, ids))


def test_the_loss_is_the_mean_of_both_directions_cross_entropies():
    z = embeddings()
    logits = 5 * z.zi_GxE @ z.zt_GxE.T
    both = [np.log(np.exp(x).sum(1)) - np.diag(x) for x in (logits, logits.T)]
    loss = itc(z, jnp.arange(6))
    np.testing.assert_allclose(loss, np.mean(both), rtol=1e-5)


def test_all_captions_of_an_image_are_its_positives():
    z = embeddings()
    logits = 5 * z.zi_GxE @ z.zt_GxE.T
    same = np.eye(6)
    same[2, 4] = same[4, 2] = 1
    log_p = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (logits, logits.T)]
    expected = -np.mean([(same / same.sum(1, keepdims=True) * x).sum(1) for x in log_p])
    loss = itc(z, jnp.asarray([0, 1, 2, 3, 2, 5]))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_one_step_gives_the_golden_loss(embedded):
    """To renew after an intended change: put the new value here, say why in the commit."""
    np.testing.assert_allclose(itc(embedded, jnp.arange(8)), 2.70675, rtol=1e-4)


def test_captions_and_negatives_are_encoded_in_one_call(small, embedded):
    _, model, params, batch = small
    calls = []
    counting = model._replace(
        encode_text=lambda *given, key: calls.append(1) or model.encode_text(*given, key=key)
    )
    jax.eval_shape(lambda: clip.encode(counting, params, batch, negatives=True))
    assert len(calls) == 1
    assert embedded.zn_GxKxE.shape == (8, len(KINDS), 8)
    ids = batch["negative_ids"][3]
    states = model.encode_text(params, ids, None, key=None)
    np.testing.assert_allclose(
        embedded.zn_GxKxE[3], model.project_text(params, states, ids), atol=1e-6
    )


def test_the_loss_and_its_gradient_are_the_same_on_a_mesh(small):
    config, _, _, batch = small
    config = config.copy_and_resolve_references()
    config.model.image.layers = config.model.text.layers = 1
    model = MODELS["clip"].make(config)
    params = jax.device_get(jax.jit(model.init)(jax.random.key(0)))

    def value(params, batch):
        z = clip.encode(model, params, batch, negatives=True)
        false_GxK = jnp.einsum("GE,GKE->GK", z.zi_GxE, z.zn_GxKxE) * batch["negative_valid"]
        return itc(z, batch["image_id"]) + false_GxK.sum()

    def run(data, fsdp):
        devices = jax.devices()[: data * fsdp]
        mesh = sharding.make_mesh(ConfigDict(dict(data=data, fsdp=fsdp)), devices=devices)
        rules = sharding.shardings(params, model.partition_rules, mesh=mesh)
        placed = jax.device_put(params, rules), sharding.to_global(batch, mesh)
        return jax.device_get(jax.jit(jax.value_and_grad(value))(*placed))

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), run(2, 2), run(1, 1)
    )


def test_plain_clip_does_not_read_the_negatives(small):
    config, model, params, batch = small
    forward = METHODS["clip"].make(config, model, steps_per_epoch=1).forward
    plain = {name: x for name, x in batch.items() if not name.startswith("negative")}

    def shape(batch):
        return jax.make_jaxpr(lambda p: forward(p, {}, batch, step=0, key=None)[0])(params)

    assert str(shape(batch)) == str(shape(plain))


def test_the_logit_scale_stays_in_its_range():
    for given, kept in ((-1.0, 0.0), (9.0, math.log(100)), (2.6, 2.6)):
        params = clip.clip_logit_scale({"logit_scale": jnp.float32(given), "x": 1})
        np.testing.assert_allclose(params["logit_scale"], kept, rtol=1e-6)
    assert np.exp(np.float32(math.log(100))) <= 100.001


def test_weight_decay_leaves_out_gains_biases_and_the_logit_scale(small):
    mask = decay_mask(small[2], temperature=False)
    assert not mask["logit_scale"]
    assert not any(mask["image"]["pre_norm"].values())
    assert mask["image_projection"]["kernel"] and mask["text"]["embedding"]["word"]
    assert mask["text"]["layers"]["mlp"]["up"] == {"kernel": True, "bias": False}


def test_it_overfits_eight_pairs(small):
    config, _, _, batch = small
    config = config.copy_and_resolve_references()
    config.model.image.layers = config.model.text.layers = 1
    model = MODELS["clip"].make(config)
    params = jax.jit(model.init)(jax.random.key(0))
    learn = METHODS["clip"].make(config, model, steps_per_epoch=1)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def steps(params):
        def step(carry, number):
            params, state = carry
            gradient = jax.grad(lambda p: learn.forward(p, {}, batch, step=number, key=None)[0])(
                params
            )
            updates, state = optimizer.update(gradient, state)
            return (learn.project(optax.apply_updates(params, updates)), state), None

        carry = (params, optimizer.init(params))
        params = jax.lax.scan(step, carry, jnp.arange(60))[0][0]
        return clip.encode(model, params, batch, negatives=False)

    z = steps(params)
    similarity = np.asarray(z.zi_GxE @ z.zt_GxE.T)
    assert (similarity.argmax(0) == np.arange(8)).all()
    assert (similarity.argmax(1) == np.arange(8)).all()
