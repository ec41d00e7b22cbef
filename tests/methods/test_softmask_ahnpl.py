"""SoftMask with hard negatives: in ITC, in ITM, and in AHNPL's losses on its projections."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import LENGTH, WORDS, small_batch, small_config, under_way

from jaxvl.losses import contrastive, make_contrast
from jaxvl.methods import METHODS, contrast, softmask_ahnpl
from jaxvl.methods.context import Context
from jaxvl.methods.encoders import Encoded, EncodedBatch, corrupt
from jaxvl.methods.matching import Negatives, Pairs
from jaxvl.models import MODELS

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent.parent / "golden" / "losses_softmask_ahnpl.json"
OFF = dict(
    itc_negatives=False,
    itm_negatives=False,
    multimodal_weight=0.0,
    margin_weight=0.0,
    alignment_weight=0.0,
)
VALID = np.array([[True, True], [True, False], [False, False], [False, True]] * 2)


def configured(method="softmask_ahnpl", **keys):
    config = small_config()
    config.method = method
    config.data.update(negatives="own", negative_kinds=("swap", "replace"))
    config.ahnpl.positive = "cross"  # the golden values are of this one
    config.ahnpl.update(keys)
    return config


def batch_with_negatives():
    one, other = small_batch(seed=1), small_batch(seed=2)
    negatives = {
        f"negative_{name}": jnp.stack([one[f"token_{name}"], other[f"token_{name}"]], axis=1)
        * VALID[..., None]
        for name in ("ids", "mask")
    }
    ids = {"negative_caption_id": 100 + jnp.arange(16, dtype=jnp.int32).reshape(8, 2)}
    return small_batch() | negatives | ids | {"negative_valid": jnp.asarray(VALID)}


@pytest.fixture(scope="module")
def start():
    model = MODELS["albef"].make(configured())
    return model, jax.jit(model.init)(jax.random.key(0)), batch_with_negatives()


def forward_of(config, start):
    """Returns params -> (loss, (metrics, slots)) of a step."""
    model, params, batch = start
    method = METHODS[config.method].make(config, model, steps_per_epoch=10)
    slots = under_way(method.init_slots(params))
    return lambda p: method.forward(p, slots, batch, step=jnp.int32(5), key=jax.random.key(1))


def test_with_everything_off_it_is_the_same_program_as_softmask(start):
    programs = [
        str(jax.make_jaxpr(forward_of(config, start))(start[1]))
        for config in (configured("softmask"), configured(**OFF))
    ]
    assert programs[0] == programs[1]


def test_one_step_gives_the_golden_losses(start):
    """To renew after an intended change: delete the file, run twice, say why in the commit."""
    run = jax.jit(jax.value_and_grad(forward_of(configured(), start), has_aux=True))
    (_, (metrics, slots)), gradient = run(start[1])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    assert slots["hard"]["margin"].shape == (2,)
    values = {name: float(value) for name, value in metrics.items()}
    values["gradient"] = float(optax.tree.norm(gradient))
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"{GOLDEN} was missing and has been written; run again")
    assert values == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-4, abs=1e-6)


def context_of(config, *, params=None, batch=None, seed=0):
    """Returns the Context of a step in which no model is used."""
    return Context(config, None, params, batch, jnp.int32(0), jax.random.key(seed))


def encoded_batch(online, momentum=None):
    """Returns an EncodedBatch with embeddings only."""
    return EncodedBatch(online, momentum, {}, 0.4, None, None)


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), jnp.float32)


def test_hard_negatives_are_keys_of_images_and_not_of_texts():
    rng, ids = np.random.default_rng(0), contrastive.pair_ids(jnp.arange(8), jnp.arange(8))
    none = jnp.full((16, 2), contrastive.NO_ID)
    online, momentum = (
        Encoded(None, None, None, unit(rng, 8, 4), unit(rng, 8, 4)) for _ in range(2)
    )
    negatives, exists = unit(rng, 16, 4), jnp.asarray(VALID.reshape(-1))
    keys = contrastive.Keys(
        jnp.concatenate([momentum.zt_GxE, negatives]),
        jnp.concatenate([ids, none]),
        jnp.concatenate([jnp.ones(8, bool), exists]),
    )

    def expected(z, momentum_z, keys):
        momentum = contrastive.Momentum(momentum_z, 0.4)
        form = dict(momentum=momentum, gamma=0, focal_on="all", chunk=0)
        return contrastive.itc(z, ids, keys, 5.0, **form).mean()

    images = contrastive.Keys(momentum.zi_GxE, ids, jnp.ones(8, bool))
    to_text = expected(online.zi_GxE, momentum.zi_GxE, keys)
    to_image = expected(online.zt_GxE, momentum.zt_GxE, images)
    loss, (logits_i2t, _) = contrast.contrast(
        context_of(
            configured(),
            params={"temperature": 0.2},
            batch={"image_id": jnp.arange(8), "caption_id": jnp.arange(8)},
        ),
        make_contrast(configured()),
        None,
        encoded_batch(online, momentum),
        negatives=contrastive.Keys(negatives, none, exists),
    )
    np.testing.assert_allclose(loss, (to_text + to_image) / 2, rtol=1e-5)
    assert logits_i2t.shape == (8, 8)  # hard negatives are not among the candidates for matching


def test_each_image_is_matched_with_a_valid_negative_of_its_own():
    rng = np.random.default_rng(0)
    mark_GxK = np.where(VALID, np.arange(16).reshape(8, 2), -1)
    texts = softmask_ahnpl.Texts(
        t_GxKxLxD=jnp.broadcast_to(mark_GxK[..., None, None], (8, 2, LENGTH, 3)),
        mask_GxKxL=jnp.broadcast_to(VALID[..., None], (8, 2, LENGTH)),
        zn_GxKxE=unit(rng, 8, 2, 4),
        valid_GxK=jnp.asarray(VALID),
        keys=None,
    )
    online = Encoded(None, None, None, unit(rng, 8, 4), None)
    image_keys = {"keys": jnp.zeros((1, 8, 5, 3))}
    mask = jnp.zeros((8, LENGTH), bool)
    wrong = Negatives(
        [Pairs(image_keys, jnp.full((8, LENGTH, 3), -7), mask)], jnp.ones(8), jnp.arange(8)
    )
    for draw in range(5):
        context = context_of(configured(), params={"temperature": 10.0}, seed=draw)
        (_, taken), weight_R, _ = softmask_ahnpl.with_own(
            context, encoded_batch(online), wrong, texts, image_keys, hardness=1.0
        )
        np.testing.assert_array_equal(weight_R, [1] * 8 + [1, 1, 0, 1] * 2)
        found = np.asarray(taken.t_GxLxD[:, 0, 0])
        assert all(found[g] in mark_GxK[g][VALID[g]] for g in range(8) if VALID[g].any())
        np.testing.assert_array_equal(taken.mask_GxL[:, 0], VALID.any(1))


@pytest.mark.parametrize("add_sep", [False, True])
def test_words_of_negatives_are_hidden_too_and_nothing_else(add_sep):
    config = configured()
    config.data.add_sep, config.loss.mask_probability = add_sep, 1.0
    mask = np.array([[True] * 5 + [False] * 3])
    ids = jnp.full((1, LENGTH), WORDS + 1)
    batch = {"token_ids": ids, "token_mask": jnp.asarray(mask)}
    hidden = softmask_ahnpl.hide_words(
        context_of(config, batch=batch), ids[:, None], jnp.asarray(mask)[:, None]
    )
    kept = np.asarray(hidden[:, 0] == ids)[0]
    assert kept[0] and kept[5:].all()
    assert kept[4] == add_sep
    assert not kept[1:4].all()


CAPTION = [1, 11, 12, 13, 14, 15]
CHANGED = {  # negatives of it, and where they differ: from this token to before that one
    "one word for another": ([1, 11, 12, 29, 14, 15], (3, 4)),
    "two words exchanged": ([1, 11, 14, 13, 12, 15], (2, 5)),
    "two words for one": ([1, 11, 28, 29, 13, 14, 15], (2, 4)),
    "one word for two": ([1, 11, 29, 14, 15], (2, 3)),
    "the last word": ([1, 11, 12, 13, 14, 29], (5, 6)),
    "longer by the word before": ([1, 11, 12, 12, 29, 13, 14, 15], (3, 5)),
    "nothing in common": ([1, 21, 22, 23], (1, 4)),
}


def padded(ids):
    return ids + [0] * (LENGTH - len(ids))


@pytest.mark.parametrize("negative, span", CHANGED.values(), ids=CHANGED)
def test_what_makes_a_negative_false_is_never_hidden_and_the_rest_as_before(negative, span):
    config = configured()
    config.loss.mask_probability = 0.7
    own, ids = jnp.asarray([padded(CAPTION)] * 40), jnp.asarray([[padded(negative)]] * 40)
    place = np.arange(LENGTH)[None]
    is_changed = (place >= span[0]) & (place < span[1])
    context = context_of(config, batch={"token_ids": own, "token_mask": own > 0})
    found = softmask_ahnpl.hide_words(context, ids, ids > 0)[:, 0]
    words = (ids[:, 0] > 0) & (place > 0)
    blind = corrupt(context, ids[:, 0], words, name="mlm_hard").ids_GxL
    np.testing.assert_array_equal(found, np.where(is_changed, ids[:, 0], blind))
    is_hidden = np.asarray(found != ids[:, 0]).any(0, keepdims=True)
    np.testing.assert_array_equal(is_hidden[0], np.asarray(words & ~is_changed)[0])
