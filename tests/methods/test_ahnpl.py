"""A step of AHNPL: its losses by their equations, its state, and its losses switched off."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_clip import KINDS, small_clip_batch, small_clip_config

from jaxvl.configs.coco_ahnpl import SETTINGS
from jaxvl.methods import METHODS, ahnpl, clip
from jaxvl.models import MODELS

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent.parent / "golden" / "losses_ahnpl.json"
OFF = dict(itc_negatives=False, multimodal_weight=0.0, margin_weight=0.0, alignment_weight=0.0)
RELEASED = dict(as_released=True, adaptive_beta=0.0, alignment_weight=0.0)
SCALE = 5.0


def configured(**ahnpl_keys):
    config = small_clip_config()
    config.method = "ahnpl"
    config.ahnpl.update(ahnpl_keys)
    return config


@pytest.fixture(scope="module")
def start():
    config = configured()
    model = MODELS["clip"].make(config)
    return model, jax.jit(model.init)(jax.random.key(0)), small_clip_batch()


def step_of(config, start, *, slots=None):
    """Returns ((loss, (metrics, slots)), gradient) of one step."""
    model, params, batch = start
    method = METHODS[config.method].make(config, model, steps_per_epoch=10)
    slots = method.init_slots(params) if slots is None else slots
    run = jax.jit(
        lambda params: jax.value_and_grad(
            lambda p: method.forward(p, slots, batch, step=jnp.int32(5), key=None), has_aux=True
        )(params)
    )
    return run(params)


def test_with_every_loss_off_it_is_bit_identical_to_plain_clip(start):
    plain = configured()
    plain.method = "clip"
    (loss, (metrics, _)), gradient = step_of(plain, start)
    (off_loss, (off_metrics, _)), off_gradient = step_of(configured(**OFF), start)
    assert off_loss == loss and off_metrics["loss/itc"] == loss == metrics["loss/itc"]
    jax.tree.map(np.testing.assert_array_equal, off_gradient, gradient)


def test_one_step_gives_the_golden_losses(start):
    """To renew after an intended change: delete the file, run twice, say why in the commit."""
    config = configured(intra_modal_weight=0.2)
    slots = ahnpl.init_slots(config) | {"margin": jnp.asarray([0.5, 2.0])}
    (_, (metrics, _)), gradient = step_of(config, start, slots=slots)
    values = {name: float(value) for name, value in metrics.items()}
    values["gradient"] = float(optax.tree.norm(gradient))
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"{GOLDEN} was missing and has been written; run again")
    assert values == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-4, abs=1e-6)


def test_the_losses_count_from_their_first_step_on(start):
    """Before it the step is NegCLIP's."""
    negclip = configured(multimodal_weight=0.0, margin_weight=0.0, alignment_weight=0.0)
    (contrast, _), gradient = step_of(negclip, start)
    for first, same in ((5, False), (6, True)):  # this is step 5
        (loss, (metrics, _)), found = step_of(configured(start_step=first), start)
        assert (loss == contrast) == same
        assert metrics["loss/multimodal"] > 0
        equal = jax.tree.map(lambda a, b: bool((a == b).all()), found, gradient)
        assert all(jax.tree.leaves(equal)) == same


def cross_entropy(logits, column):
    rows = np.arange(len(logits))
    return (np.log(np.exp(logits).sum(-1)) - logits[rows, column]).mean()


def released_total(name, images, captions, negatives, valid, *, margin, scale):
    """Returns the loss of a step as the released code of each paper computes it, in NumPy."""
    own, columns = np.arange(len(images)), negatives.reshape(-1, negatives.shape[-1])
    known = columns[valid.reshape(-1)] if name == "negclip" else columns  # it has no missing ones
    to_text = cross_entropy(scale * images @ np.concatenate([captions, known]).T, own)
    contrast = (to_text + cross_entropy(scale * captions @ images.T, own)) / 2
    if name == "negclip":
        return contrast
    true = scale * (images * captions).sum(-1)[:, None]
    false = scale * np.einsum("ge,gke->gk", images, negatives)
    ranking = (np.maximum(0, false - true + margin) * valid).mean()
    among_texts = scale * captions @ columns.T
    if name == "ceclip":
        return contrast + 0.2 * ranking + 0.2 * cross_entropy(among_texts, 0 * own)
    moved = (images[:, None] + negatives - captions[:, None]).reshape(columns.shape)
    among_images = scale * images @ moved.T
    multimodal = cross_entropy(among_texts, own) + cross_entropy(among_images, own)
    return contrast + 0.2 * ranking + 0.2 * multimodal


@pytest.mark.parametrize("name", ["negclip", "ceclip", "released"])
def test_a_step_has_the_total_of_the_released_code(start, name):
    model, params, batch = start
    config, margin = configured(**SETTINGS[name]), np.array([0.5, 2.0])
    z = jax.jit(lambda params: clip.encode(model, params, batch, negatives=True))(params)
    expected = released_total(
        name,
        *(np.asarray(x, np.float64) for x in z[:3]),
        np.asarray(batch["negative_valid"]),
        margin=margin,
        scale=np.exp(float(params["logit_scale"])),
    )
    slots = ahnpl.init_slots(config) | {"margin": jnp.asarray(margin)}
    (loss, _), _ = step_of(config, start, slots=slots)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def embedded(seed=0):
    rng = np.random.default_rng(seed)
    zi, toward = unit(rng, 8, 4), unit(rng, 8, 4)
    zt = zi + 2.0 * toward  # true pairs are similar, though not always the most similar
    zt /= np.linalg.norm(zt, axis=-1, keepdims=True)
    z = clip.Embeddings(zi, zt, unit(rng, 8, 2, 4))
    return z, {"negative_valid": small_clip_batch()["negative_valid"]}


def terms(margin=(0.5, 2.0), valid=None, **keys):
    """Returns ((losses, metrics, slots), embeddings, valid) for embeddings of noise."""
    config = configured(**keys)
    z, batch = embedded()
    if valid is not None:
        batch["negative_valid"] = jnp.asarray(valid)
    slots = ahnpl.init_slots(config) | {"margin": jnp.asarray(margin)}
    return ahnpl.terms(config, slots, z, batch, SCALE), z, np.asarray(batch["negative_valid"])


def logits_of(z):
    positive_G = SCALE * (z.zi_GxE * z.zt_GxE).sum(-1)
    return positive_G, SCALE * np.einsum("ge,gke->gk", z.zi_GxE, z.zn_GxKxE)


@pytest.mark.parametrize("as_released", [False, True])
def test_the_hinge_is_a_mean_over_the_valid_negatives_and_as_released_over_all(as_released):
    (losses, _, _), z, valid = terms(as_released=as_released, adaptive_beta=0.0)
    positive, negative = logits_of(z)
    hinge = valid * np.maximum(0, negative - positive[:, None] + [0.5, 2.0])
    count = valid.size if as_released else valid.sum()
    np.testing.assert_allclose(losses["margin"], hinge.sum() / count, rtol=1e-5)


def test_harder_negatives_weigh_more_in_the_hinge():
    (losses, metrics, _), z, valid = terms(adaptive_beta=3.0, adaptive_cap=1.2)
    positive, negative = logits_of(z)
    weight = valid * np.exp(3.0 * (negative - positive[:, None]) / SCALE)
    weight = np.minimum(weight * valid.sum(1, keepdims=True) / weight.sum(1, keepdims=True), 1.2)
    hinge = np.maximum(0, negative - positive[:, None] + [0.5, 2.0])
    np.testing.assert_allclose(losses["margin"], (weight * hinge).sum() / valid.sum(), rtol=1e-5)
    share = weight.sum() ** 2 / (valid.sum() * (weight**2).sum())
    np.testing.assert_allclose(metrics["effective/all"], share, rtol=1e-5)
    assert metrics["effective/at_cap"] > 0


def test_the_metrics_of_each_kind():
    (_, metrics, _), z, valid = terms()
    positive, negative = logits_of(z)
    above = (negative - positive[:, None]) / SCALE
    for k, kind in enumerate(KINDS):
        at, margin = valid[:, k], (0.5, 2.0)[k]
        np.testing.assert_allclose(metrics[f"difficulty/{kind}"], above[at, k].mean(), rtol=1e-4)
        np.testing.assert_allclose(metrics[f"false_match/{kind}"], (above[at, k] >= 0).mean())
        active = (SCALE * above[at, k] + margin > 0).mean()
        np.testing.assert_allclose(metrics[f"active/{kind}"], active)
        assert metrics[f"margin/{kind}"] == margin
        assert 0 < metrics[f"effective/{kind}"] <= 1


def test_released_multimodal_weighs_both_sides():
    (losses, _, _), z, _ = terms(
        **RELEASED, multimodal_text_weight=1.0, multimodal_image_weight=0.5
    )
    sides = []
    moved = z.zi_GxE[:, None] + z.zn_GxKxE - z.zt_GxE[:, None]
    for own, others in ((z.zt_GxE, z.zn_GxKxE), (z.zi_GxE, moved)):
        logits = SCALE * own.astype(np.float64) @ others.reshape(-1, 4).T
        sides.append((np.log(np.exp(logits).sum(-1)) - logits[np.arange(8), np.arange(8)]).mean())
    np.testing.assert_allclose(losses["multimodal"], sides[0] + 0.5 * sides[1], rtol=1e-6)


def log_share(positive, logits, weight):
    return np.log(1 + (weight * np.exp(logits - positive[:, None])).sum(-1))


@pytest.mark.parametrize("positive", ["cross", "intra", "self"])
def test_the_positive_is_the_pair_or_a_second_view_or_the_same_text_and_image(positive):
    config = configured(positive=positive, adaptive_beta=2.0, adaptive_cap=1.5)
    config.ahnpl.update(multimodal_text_weight=0.7, multimodal_image_weight=0.4)
    z, batch = embedded()
    rng = np.random.default_rng(1)
    z = z._replace(second_zi_GxE=unit(rng, 8, 4), second_zt_GxE=unit(rng, 8, 4))
    if positive != "intra":
        z = z._replace(second_zi_GxE=None, second_zt_GxE=None)
    batch["second_valid"] = jnp.arange(8) != 3
    valid = np.asarray(batch["negative_valid"])
    losses, _, _ = ahnpl.terms(config, ahnpl.init_slots(config), z, batch, SCALE)

    pair = (z.zi_GxE * z.zt_GxE).sum(-1)
    weight = valid * np.exp(2.0 * (np.einsum("ge,gke->gk", z.zi_GxE, z.zn_GxKxE) - pair[:, None]))
    mean = weight.sum(1, keepdims=True) / np.maximum(valid.sum(1, keepdims=True), 1)
    weight = np.minimum(weight / np.where(mean > 0, mean, 1), 1.5)
    moved = z.zi_GxE[:, None] + z.zn_GxKxE - z.zt_GxE[:, None]
    moved /= np.linalg.norm(moved, axis=-1, keepdims=True)
    text, image = pair, pair
    if positive == "intra":
        text = (z.zt_GxE * z.second_zt_GxE).sum(-1)
        image = (z.zi_GxE * z.second_zi_GxE).sum(-1)
    if positive == "self":
        text = image = np.ones(8)
    on_text = log_share(SCALE * text, SCALE * np.einsum("ge,gke->gk", z.zt_GxE, z.zn_GxKxE), weight)
    on_image = log_share(SCALE * image, SCALE * np.einsum("ge,gke->gk", z.zi_GxE, moved), weight)
    if positive == "intra":
        on_text[3] = 0.0  # its image has no second caption
    expected = 0.7 * on_text.mean() + 0.4 * on_image.mean()
    np.testing.assert_allclose(losses["multimodal"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "positive, text, image", [("cross", 3.048587, 4.888497), ("self", 0.126928, 0.635387)]
)
def test_the_multimodal_loss_of_one_image_by_hand(positive, text, image):
    """cos(I, T) is 0, cos(T, N) 0.6, and the moved image (-0.4, 1.8) has cosine 0.976187 to I."""
    config = configured(positive=positive, adaptive_beta=0.0)
    z = clip.Embeddings(
        jnp.asarray([[0.0, 1.0]]),
        jnp.asarray([[1.0, 0.0]]),
        jnp.asarray([[[0.6, 0.8], [1.0, 0.0]]]),
    )
    batch = {"negative_valid": jnp.asarray([[True, False]])}
    for side, expected in (((1.0, 0.0), text), ((0.0, 1.0), image)):
        config.ahnpl.multimodal_text_weight, config.ahnpl.multimodal_image_weight = side
        losses, _, _ = ahnpl.terms(config, ahnpl.init_slots(config), z, batch, SCALE)
        np.testing.assert_allclose(losses["multimodal"], expected, rtol=1e-5)


def test_with_itself_as_positive_a_negative_is_only_pushed_away():
    """At the geometry of CLIP, cos(T, N) 0.90 and scale 100, there is nothing left to push."""
    config = configured(positive="self", adaptive_beta=0.0, multimodal_image_weight=0.0)
    batch = {"negative_valid": jnp.asarray([[True, False]])}

    def loss(cosine, scale):
        negative = jnp.stack([cosine, jnp.sqrt(1 - cosine**2)])
        z = clip.Embeddings(
            jnp.asarray([[0.3, -0.953939]]),
            jnp.asarray([[1.0, 0.0]]),
            jnp.tile(negative, (1, 2, 1)),
        )
        return ahnpl.terms(config, ahnpl.init_slots(config), z, batch, scale)[0]["multimodal"]

    value, slope = jax.value_and_grad(loss)(0.9, 14.0)
    np.testing.assert_allclose(value, np.log(1 + np.exp(-1.4)), rtol=1e-5)
    np.testing.assert_allclose(slope, 14.0 / (1 + np.exp(1.4)), rtol=1e-5)
    np.testing.assert_allclose(loss(0.9, 100.0), np.log(1 + np.exp(-10)), rtol=1e-2)


def test_the_alignment_is_in_cosines_or_in_logits_and_leaves_the_scale_alone():
    z, batch = embedded()
    short = np.maximum(0.25 - (z.zi_GxE * z.zt_GxE).sum(-1), 0).mean()
    assert short > 0
    for units, factor in (("cosine", 1.0), ("logit", SCALE)):
        config = configured(alignment_units=units, alignment_floor=0.25)

        def loss(scale, config=config):
            return ahnpl.terms(config, ahnpl.init_slots(config), z, batch, scale)[0]["alignment"]

        value, slope = jax.value_and_grad(loss)(SCALE)
        np.testing.assert_allclose(value, factor * short, rtol=1e-5)
        assert slope == 0


def test_a_second_view_is_encoded_as_the_first(start):
    model, params, batch = start
    swapped = {
        "second_image": batch["image"][::-1],
        "second_ids": batch["token_ids"][::-1],
        "second_mask": batch["token_mask"][::-1],
        "second_valid": jnp.ones(8, bool),
    }
    both = jax.jit(lambda batch: clip.encode(model, params, batch, negatives=True, second=True))
    z = both(batch | swapped)
    plain = jax.jit(lambda batch: clip.encode(model, params, batch, negatives=True))(batch)
    for one, other in (
        (z.zi_GxE, plain.zi_GxE),
        (z.zt_GxE, plain.zt_GxE),
        (z.zn_GxKxE, plain.zn_GxKxE),
        (z.second_zi_GxE, plain.zi_GxE[::-1]),
        (z.second_zt_GxE, plain.zt_GxE[::-1]),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    (loss, _), _ = step_of(configured(positive="intra"), (model, params, batch | swapped))
    assert np.isfinite(loss)


@pytest.mark.parametrize("limit", [9.0, 0.7])
def test_margins_are_carried_and_a_missing_kind_keeps_its_own(limit):
    valid = np.zeros((8, 2), bool)
    valid[:, 0] = True
    (_, _, slots), z, _ = terms(valid=valid, margin_limit=limit)
    positive, negative = logits_of(z)
    gap = positive.mean() - negative[:, 0].mean()
    assert 0.7 < gap < 9.0
    expected = min(gap, limit)
    np.testing.assert_allclose(slots["margin"], [expected, 2.0], rtol=1e-5, atol=1e-6)


def test_margins_are_reset_at_an_epoch_if_configured():
    slots = {"margin": jnp.ones(2)}
    for reset, step, kept in ((True, 20, 0.0), (True, 21, 1.0), (False, 20, 1.0)):
        options = configured(margin_reset=reset).ahnpl
        margin = ahnpl.new_epoch(options, slots, jnp.int32(step), 10)["margin"]
        np.testing.assert_array_equal(margin, kept)


def test_the_target_of_the_alignment_comes_from_the_steps_before():
    config = configured(alignment_ease=1.0, alignment_decay=0.5, alignment_floor=0.25)
    running = ahnpl.init_slots(config)["cosine"]
    batches = [np.array([0.1, 0.5]), np.array([0.7, 0.5])]
    targets = []
    for cosines in [*batches, batches[0]]:
        target, running = ahnpl.align_to(config.ahnpl, running, jnp.asarray(cosines))
        targets.append(float(target))
    both = np.concatenate([batches[0], np.repeat(batches[1], 2)])  # the newer batch counts twice
    expected = [0.25, 0.3 + 0.2, both.mean() + both.std()]
    np.testing.assert_allclose(targets, expected, rtol=1e-5)


def test_a_warning_if_few_negatives_carry_the_weight():
    options = configured(effective_floor=0.3).ahnpl
    assert ahnpl.warn(options, {"effective/all": 0.31}) is None
    assert ahnpl.warn(options, {"loss": 1.0}) is None
    line = ahnpl.warn(options, {"effective/all": 0.2})
    assert "20%" in line and "ahnpl.adaptive_beta=4.0" in line


def test_the_partition_rules_cover_the_state(start):
    from jaxvl import sharding, state
    from jaxvl.training import optim

    config, model = configured(), start[0]
    method = METHODS["ahnpl"].make(config, model, steps_per_epoch=10)
    optimizer = optim.make_optimizer(config.optim, total_steps=10)
    begin = state.make_begin(config, method=method, optimizer=optimizer)
    mesh = sharding.make_mesh(config.mesh)
    abstract = state.abstract_state(begin, model=model, method=method, mesh=mesh)
    assert abstract.slots["margin"].shape == (2,)


def test_it_overfits_eight_pairs_and_their_negatives(start):
    config, (model, params, batch) = configured(), start
    learn = METHODS["ahnpl"].make(config, model, steps_per_epoch=10)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def run(params):
        def step(carry, number):
            params, slots, state = carry
            (_, (metrics, slots)), gradient = jax.value_and_grad(
                lambda p: learn.forward(p, slots, batch, step=number, key=None), has_aux=True
            )(params)
            updates, state = optimizer.update(gradient, state)
            return (learn.project(optax.apply_updates(params, updates)), slots, state), metrics

        carry = (params, learn.init_slots(params), optimizer.init(params))
        (params, slots, _), metrics = jax.lax.scan(step, carry, jnp.arange(80))
        return clip.encode(model, params, batch, negatives=True), metrics

    z, metrics = run(params)
    similarity = np.asarray(z.zi_GxE @ z.zt_GxE.T)
    assert (similarity.argmax(0) == np.arange(8)).all()
    assert (similarity.argmax(1) == np.arange(8)).all()
    for kind in KINDS:
        assert metrics[f"false_match/{kind}"][-1] == 0
