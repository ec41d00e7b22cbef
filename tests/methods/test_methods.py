"""A step of ALBEF and of SoftMask: its losses, its gradients, and the state that it carries."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import small_batch, small_config
from small_albef import OFF, configured, run

from jaxvl.methods import METHODS, albef, encoders, softmask
from jaxvl.models import MODELS
from jaxvl.ops.gradcam import match_and_explain, word_relevance
from jaxvl.ops.soft_mask import normalise_relevance

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent.parent / "golden" / "losses.json"


@pytest.fixture(scope="module")
def plain():
    return run(configured("albef"), step=5)


@pytest.fixture(scope="module")
def full():
    return run(configured("softmask"), step=5)


def test_softmask_with_everything_off_is_bit_identical_to_albef(plain):
    off = run(configured("softmask", **OFF), step=5)
    assert off[0] == plain[0]
    jax.tree.map(np.testing.assert_array_equal, off[3], plain[3])
    jax.tree.map(np.testing.assert_array_equal, {k: off[2][k] for k in plain[2]}, plain[2])


def test_one_step_gives_the_golden_losses(plain, full):
    """To renew after an intended change: delete the file, run twice, say why in the commit."""
    values = {
        name: {key: float(value) for key, value in result[1].items()}
        | {"gradient": float(optax.tree.norm(result[3]))}
        for name, result in (("albef", plain), ("softmask", full))
    }
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"{GOLDEN} was missing and has been written; run again")
    golden = json.loads(GOLDEN.read_text())
    for name, expected in golden.items():
        assert values[name] == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def test_momentum_encoders_move_by_the_decay_and_before_their_features_are_used(plain):
    config = configured("albef")
    model = MODELS["albef"].make(config)
    params = model.init(jax.random.key(0))
    online = {name: params[name] for name in encoders.MOMENTUM_PARTS}
    ahead = jax.tree.map(lambda x: x + 1.0, online)
    jax.tree.map(
        lambda new, x: np.testing.assert_allclose(new, x + 0.9, rtol=1e-5),
        encoders.update_momentum(ahead, params, decay=0.9),
        online,
    )
    batch, (_, _, slots, _) = small_batch(), plain

    @jax.jit
    def encode(momentum_params):
        return encoders.encode(model, momentum_params, batch, (batch["token_ids"],), key=None)

    momentum = encode(slots["twins"])
    np.testing.assert_allclose(slots["queue"]["image"][8:], momentum.zi_GxE, atol=1e-5)
    np.testing.assert_allclose(slots["queue"]["text"][8:], momentum.zt_GxE, atol=1e-5)


def test_the_queue_takes_each_batch_in_turn_and_wraps_around():
    config, ids = configured("albef"), []
    slots = albef.init_slots(config, MODELS["albef"].make(config).init(jax.random.key(0)))
    for step in range(3):
        batch = small_batch(seed=step) | {"image_id": jnp.arange(8, dtype=jnp.int32) + 100 * step}
        slots = run(config, batch=batch, step=step, slots=slots)[2]
        ids.append(np.asarray(slots["queue"]["ids"][:, 0]))
    np.testing.assert_array_equal(ids[0][8:], -1)
    np.testing.assert_array_equal(ids[1], [*range(8), *range(100, 108)])
    np.testing.assert_array_equal(ids[2], [*range(200, 208), *range(100, 108)])
    assert slots["queue"]["position"] == 8
    np.testing.assert_allclose((slots["queue"]["text"] ** 2).sum(-1), 1, rtol=1e-5)


def test_distillation_ramps_up_over_the_first_epoch():
    config = configured("albef")
    weights = [encoders.distill_weight(config, step, 10) for step in (0, 5, 10, 50)]
    np.testing.assert_allclose(weights, [0, 0.2, 0.4, 0.4], rtol=1e-6)


def test_each_piece_changes_only_what_it_should(plain):
    gamma = run(configured("softmask", **OFF | {"focal_gamma": 2.0}), step=5)[1]
    masked = run(configured("softmask", **OFF | {"weight": 1.0}), step=5)[1]
    for name in ("loss/itm", "loss/mlm"):
        np.testing.assert_allclose(gamma[name], plain[1][name], rtol=1e-5)
    assert gamma["loss/itc"] < plain[1]["loss/itc"]
    for name in ("loss/itc", "loss/itm", "loss/mlm"):
        np.testing.assert_allclose(masked[name], plain[1][name], rtol=1e-4)
    assert masked["softmask/mass"] > 0


def test_no_pair_is_masked_before_the_first_step_or_with_probability_0():
    early = run(configured("softmask", start_step=6), step=5)[1]
    never = run(configured("softmask", probability=0.0), step=5)[1]
    for metrics in (early, never):
        assert metrics["loss/soft"] == 0 and metrics["softmask/mass"] == 0


def test_a_masked_image_with_a_wrong_text_is_labelled_as_no_match():
    true_Gx2, wrong_Gx2 = logits_of(0.9), logits_of(0.2)
    masked = soft(0.1)._replace(applied_G=jnp.asarray([1.0, 1.0, 0.0, 0.0]))
    found_G = jnp.asarray([1.0, 0.0, 1.0, 1.0])
    alone = softmask.soft_loss(masked, true_Gx2, found_G=found_G)
    both = softmask.soft_loss(masked, true_Gx2, wrong_Gx2, found_G=found_G)
    assert alone == pytest.approx(-np.log(0.9), rel=1e-5)
    assert both == pytest.approx(-(2 * np.log(0.9) + np.log(0.8)) / 3, rel=1e-5)


def test_the_wrong_text_beside_a_masked_image_changes_that_loss_alone(full):
    _, metrics, _, _ = run(configured("softmask", wrong_text=True), step=5)
    for name in ("loss/itc", "loss/itm", "loss/mlm", "softmask/mass"):
        np.testing.assert_allclose(metrics[name], full[1][name], rtol=1e-4)
    assert abs(metrics["loss/soft"] - full[1]["loss/soft"]) > 1e-3
    own = run(configured("softmask", wrong_text=True, wrong_mask="own"), step=5)[1]
    for name in ("loss/itc", "loss/itm", "loss/mlm", "softmask/mass"):
        np.testing.assert_allclose(own[name], full[1][name], rtol=1e-4)
    assert abs(own["loss/soft"] - metrics["loss/soft"]) > 1e-4


def test_a_hard_mask_removes_patches_or_leaves_them(full):
    mask_GxP = jnp.asarray([[0.0, 0.49, 0.5, 1.0]])
    np.testing.assert_array_equal(softmask.shaped(mask_GxP, "hard"), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(softmask.shaped(mask_GxP, "soft"), mask_GxP)
    _, metrics, _, _ = run(configured("softmask", mask="hard"), step=5)
    assert abs(metrics["softmask/mass"] - full[1]["softmask/mass"]) > 1e-3


def matched(layer=1, seed=0):
    config = small_config()
    model = MODELS["albef"].make(config)
    params = model.init(jax.random.key(seed))
    # Larger weights than at the start make the words differ, and the gradients large enough.
    params = jax.tree.map(lambda x: 2 * x if x.ndim > 1 else x, params)
    batch = small_batch(4)
    v = model.encode_image(params, batch["image"])
    t = model.encode_text(params, batch["token_ids"], batch["token_mask"], key=None)
    return model, params, model.image_keys(params, v), t, batch["token_mask"], layer


def test_relevance_follows_finite_differences_of_the_match_score():
    model, params, keys, t, mask, layer = matched()
    relevance, _ = word_relevance(model, params, keys, t, mask, layer=layer, score="logit")
    call = {"key": None, "keep_GxN": None, "layer": layer, "first_only": False}
    _, attention = model.fuse(params, keys, t, mask, probe=None, **call)

    def score(probe):
        return model.match_logits(params, model.fuse(params, keys, t, mask, probe=probe, **call)[0])

    of_words = np.asarray(relevance[:, 1:])  # without the class token; the largest is far from 0
    g, word, patch = np.unravel_index(of_words.argmax(), of_words.shape)
    word, step = word + 1, 1e-2
    expected = 0.0
    for head in range(2):
        nudge = jnp.zeros(attention.shape).at[g, head, word, 1 + patch].set(step)
        slope = (score(nudge) - score(-nudge))[g, 1] / (2 * step)
        expected += max(float(slope), 0.0) * float(attention[g, head, word, 1 + patch]) / 2
    np.testing.assert_allclose(relevance[g, word, patch], expected, rtol=0.02)
    assert expected > 1e-3


def test_different_words_look_at_different_patches():
    model, params, keys, t, mask, layer = matched()
    relevance, _ = word_relevance(model, params, keys, t, mask, layer=layer, score="logit")
    maps = normalise_relevance(relevance[0, 1:3])
    assert np.abs(maps[0] - maps[1]).max() > 0.05


def test_in_the_last_fusion_layer_only_the_class_token_has_relevance():
    model, params, keys, t, mask, _ = matched()
    relevance, _ = word_relevance(model, params, keys, t, mask, layer=2, score="logit")
    assert relevance[:, 0].any() and not relevance[:, 1:].any()


def test_the_masked_pair_trains_the_image_but_not_through_its_mask():
    """The gradient of L_soft is the gradient of L_soft with the mask as a constant."""
    model, params, keys, t, mask, layer = matched()

    def soft_loss(keys, relevance):
        keep = jnp.pad(
            1 - normalise_relevance(relevance[:, 1]), ((0, 0), (1, 0)), constant_values=1.0
        )
        call = {"key": None, "keep_GxN": keep, "probe": None, "layer": None, "first_only": True}
        states, _ = model.fuse(params, keys, t, mask, **call)
        return -jax.nn.log_softmax(model.match_logits(params, states))[:, 1].sum()

    def explain(keys):
        return match_and_explain(
            model, params, keys, t, mask, layer=layer, score="logit", key=None
        ).relevance_GxLxP

    constant = explain(keys)
    through = jax.grad(lambda k: soft_loss(k, explain(k)))(keys)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        through,
        jax.grad(soft_loss)(keys, constant),
    )
    assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(through))


def soft(mass, applied=1.0):
    return softmask.SoftMask(None, jnp.full((4,), applied), jnp.float32(mass))


def logits_of(probability):
    return jnp.log(jnp.asarray([[1 - probability, probability]] * 4))


@pytest.mark.parametrize(
    "probability,mass,applied,direction",
    [
        (0.9, 0.1, 1.0, +1),
        (0.3, 0.1, 1.0, -1),
        (0.7, 0.1, 1.0, 0),
        (0.7, 0.9, 1.0, -1),
        (0.9, 0.1, 0.0, 0),
    ],
)
def test_strength_follows_the_masked_pairs_match_probability(probability, mass, applied, direction):
    options = small_config().softmask
    options.auto_strength = True
    strength, metrics = softmask.adapt_strength(
        options, jnp.float32(0.5), soft(mass, applied), logits_of(probability)
    )
    assert np.sign(strength - 0.5) == direction
    assert metrics["softmask/strength"] == 0.5


def test_strength_is_constant_unless_automatic_and_stays_within_its_range():
    options = small_config().softmask
    assert softmask.adapt_strength(options, 0.5, soft(0.1), logits_of(0.99))[0] == 0.5
    options.update(auto_strength=True, auto_rate=100.0)
    assert softmask.adapt_strength(options, 0.5, soft(0.1), logits_of(0.99))[0] == 1.0
    assert softmask.adapt_strength(options, 0.5, soft(0.1), logits_of(0.01))[0] == 0.0


def test_the_temperature_stays_in_its_range():
    config = small_config()
    for given, kept in ((0.9, 0.5), (1e-5, 0.001), (0.07, 0.07)):
        params = albef.clip_temperature(config, {"temperature": jnp.float32(given), "x": 1})
        np.testing.assert_allclose(params["temperature"], kept)


@pytest.mark.parametrize("method", ["albef", "softmask"])
def test_a_method_overfits_eight_pairs(method):
    config = configured(method)
    config.momentum.distill = 0.0
    config.momentum.decay = 0.9
    config.loss.mask_probability = 0.05
    model = MODELS["albef"].make(config)
    learn = METHODS[method].make(config, model, steps_per_epoch=1)
    batch, optimizer = small_batch(), optax.adam(3e-3)
    params = model.init(jax.random.key(0))

    @jax.jit
    def step(carry, number):
        params, slots, state = carry
        key = jax.random.fold_in(jax.random.key(2), number)
        (_, (_, slots)), gradient = jax.value_and_grad(
            lambda p: learn.forward(p, slots, batch, step=number, key=key), has_aux=True
        )(params)
        updates, state = optimizer.update(gradient, state)
        return (learn.project(optax.apply_updates(params, updates)), slots, state)

    carry = (params, learn.init_slots(params), optimizer.init(params))
    for number in range(150):
        carry = step(carry, jnp.int32(number))
    both = encoders.encode(model, carry[0], batch, (batch["token_ids"],), key=None)
    similarity = np.asarray(both.zi_GxE @ both.zt_GxE.T)
    assert (similarity.argmax(0) == np.arange(8)).all()
    assert (similarity.argmax(1) == np.arange(8)).all()
