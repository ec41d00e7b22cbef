"""Matching in a step: which negatives are drawn, how hard they are, and pairs that share a pass."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_batch, small_config
from small_albef import OFF, configured, run

from jaxvl.methods import encoders, matching
from jaxvl.methods.context import Context
from jaxvl.models import MODELS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("reuse, taken", [(True, "keys"), (False, "tokens")])
def test_negative_pairs_are_the_most_similar_ones_of_the_rows_own_block(reuse, taken):
    config = configured("albef")
    config.loss.itm_reuse_keys = reuse
    config.loss.itm_negative_blocks = 2
    row = np.arange(8)
    block, place = 4 * (row // 4), row % 4
    text_of, image_of = block + (place + 1) % 4, block + (place + 2) % 4  # of an image, of a text
    certain = [jnp.asarray(99.0 * np.eye(8)[index]) for index in (text_of, image_of)]
    v, t = (jnp.arange(8.0).reshape(8, 1, 1) + start for start in (0, 100))
    batch = {
        "image_id": jnp.arange(8),
        "caption_id": jnp.arange(8),
        "token_mask": jnp.ones((8, 1), bool),
    }
    model = SimpleNamespace(image_keys=lambda params, v: {"keys": v[None], "from": "tokens"})
    context = Context(config, model, {}, batch, 0, jax.random.key(0))
    online = encoders.Encoded(v, t, t, None, None)
    (wrong_text, wrong_image), weight_R, text_G = matching.draw_negatives(
        context, online, {"keys": v[None]}, certain, hardness=1.0
    )
    np.testing.assert_array_equal(wrong_text.image_keys["keys"].ravel(), row)
    np.testing.assert_array_equal(wrong_text.t_GxLxD.ravel(), 100 + text_of)
    np.testing.assert_array_equal(text_G, text_of)
    np.testing.assert_array_equal(wrong_image.image_keys["keys"].ravel(), image_of)
    np.testing.assert_array_equal(wrong_image.t_GxLxD.ravel(), 100 + row)
    assert wrong_image.image_keys.get("from", "keys") == taken
    assert weight_R.all()


@pytest.mark.parametrize("same_caption, drawn", [("positive", {2, 3}), ("negative", {1})])
def test_a_caption_that_reads_like_ones_own_is_not_drawn_as_a_wrong_one(same_caption, drawn):
    config = configured("albef")
    config.loss.same_caption = same_caption
    ids = {"image_id": jnp.arange(4), "caption_id": jnp.asarray([5, 5, 6, 7])}
    batch = {**ids, "token_mask": jnp.ones((4, 1), bool)}
    model = SimpleNamespace(image_keys=lambda params, v: {"keys": v[None]})
    likely = jnp.asarray(99.0 * np.eye(4)[[1, 0, 3, 2]])  # the caption next door
    v = jnp.arange(4.0).reshape(4, 1, 1)
    online = encoders.Encoded(v, v, v, None, None)
    found = set()
    for seed in range(20):
        context = Context(config, model, {}, batch, 0, jax.random.key(seed))
        _, _, text_G = matching.draw_negatives(
            context, online, {"keys": v[None]}, [likely, likely], hardness=1.0
        )
        found.add(int(text_G[0]))
    assert found == drawn


@pytest.mark.parametrize("method", ["albef", "softmask"])
def test_shared_captions_change_the_step_only_where_they_are_positives(method):
    shared = small_batch() | {"caption_id": jnp.zeros(8, jnp.int32)}

    def loss(same_caption, batch):
        config = configured(method)
        config.loss.same_caption = same_caption
        return float(run(config, batch=batch)[0])

    assert loss("negative", shared) == loss("negative", small_batch())
    assert loss("positive", small_batch()) == loss("negative", small_batch())
    assert loss("positive", shared) != loss("negative", shared)


@pytest.mark.parametrize("first_only", [False, True])
def test_pairs_that_share_a_pass_give_the_same_states_as_alone(first_only):
    model = MODELS["albef"].make(configured("softmask"))
    params, batch, mask = model.init(jax.random.key(0)), small_batch(), small_batch()["token_mask"]
    v = model.encode_image(params, batch["image"])
    t = model.encode_text(params, batch["token_ids"], mask, key=None)
    keys, others = model.image_keys(params, v), model.image_keys(params, v[::-1])
    keep = jax.random.uniform(jax.random.key(1), v.shape[:2])
    pairs = [
        matching.Pairs(keys, t, mask),
        matching.Pairs(others, t[::-1], mask[::-1]),
        matching.Pairs(keys, t, mask, keep),
        matching.Pairs(others, t, mask),
    ]

    def fuse(pairs):
        return matching.fuse_together(model, params, pairs, None, first_only=first_only)

    for together, one in zip(fuse(pairs), pairs, strict=True):
        np.testing.assert_allclose(together, fuse([one])[0], atol=1e-5)


@pytest.mark.parametrize("accuracy, direction", [(0.95, +1), (0.8, 0), (0.6, -1)])
def test_hardness_follows_the_accuracy_of_matching(accuracy, direction):
    config = small_config()
    config.loss.update(itm_auto_hardness=True, itm_hardness=0.5, itm_auto_band=(0.75, 0.85))
    slots = matching.first_hardness(config)
    moved, metrics = matching.adapt_hardness(config, slots, jnp.float32(accuracy))
    assert np.sign(moved["hardness"] - 0.5) == direction
    assert metrics["itm/hardness"] == matching.hardness_of(config, slots) == 0.5
    config.loss.itm_auto_rate = 100.0
    assert 0 <= matching.adapt_hardness(config, slots, jnp.float32(accuracy))[0]["hardness"] <= 1


def test_hardness_is_no_state_unless_it_is_automatic():
    config = small_config()
    config.loss.itm_hardness = 0.25
    assert matching.first_hardness(config) == {}
    assert matching.hardness_of(config, {}) == 0.25
    assert matching.adapt_hardness(config, {}, jnp.float32(0.9)) == ({}, {})


@pytest.mark.parametrize("method", ["albef", "softmask"])
def test_a_step_carries_the_hardness_that_it_moved(method):
    config = configured(method, **OFF)
    config.loss.update(itm_auto_hardness=True, itm_hardness=0.5, itm_auto_band=(1.0, 1.0))
    _, metrics, slots, _ = run(config)
    expected = 0.5 - config.loss.itm_auto_rate * (1 - metrics["itm/accuracy"])
    assert slots["hardness"] == pytest.approx(float(expected)) and slots["hardness"] < 0.5
