"""Losses against NumPy references written from the equations, and their invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvl.losses import chunks, contrastive, itm, mlm

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 10)).astype(np.float32) * 4
MOMENTUM = RNG.normal(size=(6, 10)).astype(np.float32) * 4
SAME = np.eye(6, 10, dtype=bool)


def numpy_softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def focal(logits, targets, *, gamma, focal_on="all", same=SAME):
    return contrastive.focal_itc(
        jnp.asarray(logits), jnp.asarray(targets), gamma=gamma, focal_on=focal_on, same_RxM=same
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("focal_on", ["all", "target"])
def test_focal_itc_equals_its_equation(gamma, focal_on):
    targets, p = numpy_softmax(MOMENTUM), numpy_softmax(LOGITS.astype(np.float64))
    factor = (1 - p) ** gamma if focal_on == "all" else (1 - p[:, :6].diagonal()[:, None]) ** gamma
    expected = -(targets * factor * np.log(p)).sum(-1)
    np.testing.assert_allclose(
        focal(LOGITS, targets, gamma=gamma, focal_on=focal_on), expected, rtol=2e-5
    )


def test_the_focal_factor_is_differentiated():
    targets = SAME.astype(np.float32)

    def loss(logits):
        return focal(logits, targets, gamma=2.0).sum()

    direction, step = RNG.normal(size=LOGITS.shape), 1e-2
    slope = (loss(LOGITS + step * direction) - loss(LOGITS - step * direction)) / (2 * step)
    np.testing.assert_allclose((jax.grad(loss)(LOGITS) * direction).sum(), slope, rtol=2e-3)


def test_focal_itc_has_a_finite_gradient_at_certain_predictions():
    certain = np.where(SAME, 200.0, -200.0).astype(np.float32)
    gradient = jax.grad(lambda x: focal(x, SAME.astype(np.float32), gamma=2.0).sum())(certain)
    assert np.isfinite(gradient).all()


def test_soft_targets_mix_the_momentum_prediction_and_the_positives():
    expected = 0.4 * numpy_softmax(MOMENTUM) + 0.6 * SAME
    np.testing.assert_allclose(
        contrastive.soft_targets(MOMENTUM, SAME, distill=0.4), expected, rtol=1e-5, atol=1e-7
    )


def test_captions_of_the_same_image_share_the_target():
    same = np.eye(6, dtype=bool)
    same[0, 3] = same[3, 0] = True
    targets = contrastive.soft_targets(MOMENTUM[:, :6], same, distill=0.0)
    np.testing.assert_array_equal(targets[0], [0.5, 0, 0, 0.5, 0, 0])


def test_absent_keys_change_nothing():
    absent = np.full((6, 3), chunks.ABSENT, np.float32)
    padded = [np.concatenate([x, absent], axis=1) for x in (LOGITS, MOMENTUM)]
    same = np.pad(SAME, ((0, 0), (0, 3)))
    targets = contrastive.soft_targets(MOMENTUM, SAME, distill=0.4)
    padded_targets = contrastive.soft_targets(padded[1], same, distill=0.4)
    np.testing.assert_allclose(
        focal(padded[0], padded_targets, gamma=2.0, same=same),
        focal(LOGITS, targets, gamma=2.0),
        rtol=1e-6,
    )


def test_permuting_the_batch_permutes_the_values():
    targets, order = numpy_softmax(MOMENTUM), RNG.permutation(6)
    np.testing.assert_array_equal(
        focal(LOGITS[order], targets[order], gamma=2.0, same=SAME[order]),
        focal(LOGITS, targets, gamma=2.0)[order],
    )


def draw(seed, similarity, same, blocks=1):
    return itm.draw_negatives(jax.random.key(seed), similarity, same, hardness=1.0, blocks=blocks)


def test_negatives_never_belong_to_the_same_image():
    image_id = jnp.asarray([0, 1, 0, 2, 1, 0])
    same = image_id[:, None] == image_id[None, :]
    similarity = jnp.where(same, 50.0, 0.0)  # the most similar ones are not allowed
    for seed in range(30):
        index, found = draw(seed, similarity, same)
        assert found.all() and not (image_id[index] == image_id).any()


@pytest.mark.parametrize("hardness", [1.0, 0.5, 0.0])
def test_negatives_follow_the_softmax_of_hardness_times_the_similarity(hardness):
    similarity = jnp.asarray([[0.0, 1.0, 2.0, -1.0]] * 4)
    same = jnp.eye(4, dtype=bool)

    def first(key):
        return itm.draw_negatives(key, similarity, same, hardness=hardness, blocks=1)[0][0]

    draws = jax.vmap(first)(jax.random.split(jax.random.key(0), 20_000))
    share = np.bincount(draws, minlength=4) / 20_000
    expected = numpy_softmax(hardness * np.array([1.0, 2.0, -1.0]))
    np.testing.assert_allclose(share[1:], expected, atol=0.015)


def test_a_row_with_nothing_to_draw_is_marked():
    index, found = draw(0, jnp.zeros((4, 4)), jnp.ones((4, 4), bool))
    assert not found.any()
    np.testing.assert_array_equal(index, np.arange(4))


def test_negatives_come_from_the_block_of_their_row():
    same = jnp.eye(8, dtype=bool)
    for seed in range(20):
        index, _ = draw(seed, jnp.zeros((8, 8)), same, blocks=2)
        assert (np.asarray(index) // 4 == np.arange(8) // 4).all()
        x = jnp.arange(16.0).reshape(8, 2)
        np.testing.assert_array_equal(itm.take_rows(x, index, blocks=2), x[index])


@pytest.mark.parametrize(
    "rows, blocks",
    [(8, 1), (64, 1), (127, 1), (128, 2), (512, 8), (4096, 64), (1536, 16), (1000, 8), (501, 1)],
)
def test_without_a_number_of_blocks_each_has_64_to_127_rows_where_the_batch_allows(rows, blocks):
    assert itm.blocks_of(rows, 0) == blocks
    assert itm.blocks_of(rows, 4) == 4  # asked for


def test_words_are_hidden_in_the_published_shares():
    ids = jnp.full((500, 40), 7, jnp.int32)
    maskable = jnp.arange(40)[None] < 30
    corrupted = mlm.corrupt(
        jax.random.key(0), ids, maskable, probability=0.15, mask_token=4, vocabulary_size=1000
    )
    hidden = np.asarray(corrupted.hidden_GxL)
    assert not hidden[:, 30:].any()
    assert abs(hidden[:, :30].mean() - 0.15) < 0.01
    shown = np.asarray(corrupted.ids_GxL)
    assert (shown[~hidden] == 7).all()
    assert abs((shown[hidden] == 4).mean() - 0.8) < 0.03
    assert abs((shown[hidden] == 7).mean() - 0.1) < 0.02


def test_masked_words_mix_the_true_word_and_the_momentum_prediction():
    logits, momentum = RNG.normal(size=(2, 3, 5, 9)).astype(np.float32)
    ids = RNG.integers(0, 9, (3, 5))
    log_p = np.log(numpy_softmax(logits))
    true = -np.take_along_axis(log_p, ids[..., None], -1)[..., 0]
    soft = -(numpy_softmax(momentum) * log_p).sum(-1)
    np.testing.assert_allclose(
        mlm.masked_words(logits, ids, momentum, distill=0.4), 0.6 * true + 0.4 * soft, rtol=1e-5
    )
