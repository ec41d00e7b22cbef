"""Losses with hard negatives against NumPy references, written from the equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvl.losses import contrastive, hard_negative

RNG = np.random.default_rng(1)
G, K, E, SCALE = 5, 3, 8, 7.0


def unit(*shape):
    x = RNG.normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


ZI, ZT, ZN = unit(G, E), unit(G, E), unit(G, K, E)
VALID = RNG.random((G, K)) < 0.7
VALID[2] = False  # a caption without negatives
WEIGHT = RNG.uniform(0.2, 2.0, (G, K)).astype(np.float32)
POSITIVE = SCALE * (ZI * ZT).sum(-1)
NEGATIVE = SCALE * np.einsum("ge,gke->gk", ZI, ZN)
MARGIN = np.array([0.5, 2.0, 0.0], np.float32)
ids = contrastive.pair_ids(jnp.arange(G), 100 + jnp.arange(G))
PLAIN = dict(momentum=None, gamma=0, focal_on="all")


def itc_with_negatives(zi, zt, zn, valid, chunk=0):
    false_ids = 200 + jnp.arange(valid.size).reshape(valid.shape)
    keys = hard_negative.text_keys(zt, zn, ids, false_ids, jnp.asarray(valid))
    return contrastive.itc(zi, ids, keys, SCALE, **PLAIN, chunk=chunk)


def test_the_keys_of_an_image_are_all_captions_and_all_valid_negatives():
    expected = []
    for i in range(G):
        others = [ZT[j] for j in range(G)] + [ZN[j, k] for j, k in zip(*np.nonzero(VALID))]
        total = sum(np.exp(SCALE * float(ZI[i] @ other)) for other in others)
        expected.append(np.log(total) - SCALE * float(ZI[i] @ ZT[i]))
    np.testing.assert_allclose(itc_with_negatives(ZI, ZT, ZN, VALID), expected, rtol=1e-5)
    np.testing.assert_allclose(itc_with_negatives(ZI, ZT, ZN, VALID, chunk=4), expected, rtol=1e-5)


def test_without_negatives_the_loss_is_bit_identical_to_the_plain_one():
    keys = contrastive.Keys(jnp.asarray(ZT), ids, jnp.ones(G, bool))
    plain = contrastive.itc(ZI, ids, keys, SCALE, **PLAIN, chunk=0)
    np.testing.assert_array_equal(itc_with_negatives(ZI, ZT, ZN[:, :0], VALID[:, :0]), plain)
    invalid = itc_with_negatives(ZI, ZT, ZN, np.zeros_like(VALID))
    np.testing.assert_allclose(invalid, plain, rtol=1e-6)


def test_an_image_is_moved_by_the_difference_of_negative_and_caption():
    moved = ZI[:, None] + 0.5 * (ZN - ZT[:, None])
    expected = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
    perturb = hard_negative.perturb
    np.testing.assert_allclose(perturb(ZI, ZT, ZN, scale=0.5, normalise=True), expected, rtol=1e-5)
    np.testing.assert_allclose(perturb(ZI, ZT, ZN, scale=0.5, normalise=False), moved, rtol=1e-5)


def test_the_difference_carries_no_gradient_and_the_image_does():
    gradient = jax.grad(
        lambda *z: hard_negative.perturb(*z, scale=1.0, normalise=True)[..., 0].sum(),
        argnums=(0, 1, 2),
    )(ZI, ZT, ZN)
    assert np.abs(gradient[0]).max() > 0
    assert not gradient[1].any() and not gradient[2].any()


def test_the_multimodal_softmax_includes_its_positive():
    own = [
        sum(WEIGHT[i, k] * np.exp(NEGATIVE[i, k]) for k in range(K) if VALID[i, k])
        for i in range(G)
    ]
    expected = -np.log(np.exp(POSITIVE) / (np.exp(POSITIVE) + own))
    found = hard_negative.multimodal(POSITIVE, NEGATIVE, VALID, WEIGHT)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found[2] == 0


@pytest.mark.parametrize("column", [np.arange(G), np.zeros(G, int)], ids=["own", "first"])
@pytest.mark.parametrize("chunk", [0, 4])
def test_as_released_the_labels_point_at_negatives(chunk, column):
    zv = ZI[:, None] + (ZN - ZT[:, None])
    for z, zn in ((ZT, ZN), (ZI, zv)):
        logits = SCALE * z.astype(np.float64) @ zn.reshape(-1, E).T
        expected = np.log(np.exp(logits).sum(-1)) - logits[np.arange(G), column]
        found = hard_negative.without_positive(z, zn, jnp.asarray(column), SCALE, chunk=chunk)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk", [0, 4])
def test_intra_modal_contrast_is_over_the_negatives_of_the_batch(chunk):
    logits = SCALE * ZT.astype(np.float64) @ ZN.reshape(-1, E).T
    total = (np.exp(logits) * VALID.reshape(1, -1)).sum(-1) + np.exp(POSITIVE)
    found = hard_negative.intra_modal(POSITIVE, ZT, ZN, VALID, SCALE, chunk=chunk)
    np.testing.assert_allclose(found, np.log(total) - POSITIVE, rtol=1e-5)


def test_the_hinge_is_active_within_the_margin_of_the_kind():
    expected = VALID * np.maximum(0, NEGATIVE - POSITIVE[:, None] + MARGIN)
    np.testing.assert_allclose(
        hard_negative.hinge(POSITIVE, NEGATIVE, VALID, MARGIN), expected, rtol=1e-5
    )


@pytest.mark.parametrize("as_released", [False, True])
def test_margins_follow_the_gap_and_an_absent_kind_keeps_its_own(as_released):
    valid = VALID & (np.arange(K) != 1)
    means = [NEGATIVE[valid[:, k], k].mean() if valid[:, k].any() else 0.0 for k in range(K)]
    expected = np.clip(POSITIVE.mean() - np.array(means), 0, 1.5)
    if not as_released:
        expected[1] = MARGIN[1]
    found = hard_negative.next_margins(
        MARGIN, POSITIVE, NEGATIVE, valid, limit=1.5, as_released=as_released
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_alignment_loss_is_zero_above_the_target():
    np.testing.assert_allclose(hard_negative.alignment(np.array([0.1, 0.5]), 0.3), [0.2, 0.0])


DIFFICULTY = (NEGATIVE - POSITIVE[:, None]) / SCALE


def test_weights_grow_with_difficulty_and_are_capped():
    weight, at_cap = hard_negative.adaptive_weights(DIFFICULTY, VALID, beta=4.0, cap=1.5)
    expected = np.where(VALID, np.exp(4.0 * DIFFICULTY), 0)
    expected /= np.maximum(expected.sum(-1, keepdims=True), 1e-9) / np.maximum(
        VALID.sum(-1, keepdims=True), 1
    )
    np.testing.assert_allclose(weight, np.minimum(expected, 1.5), rtol=1e-5)
    assert (expected > 1.5).any()
    np.testing.assert_allclose(at_cap, (expected > 1.5).sum() / VALID.sum())


def test_no_gradient_flows_through_the_weights():
    def weighted(difficulty):
        weight, _ = hard_negative.adaptive_weights(difficulty, VALID, beta=4.0, cap=99.0)
        return (weight * np.arange(VALID.size).reshape(VALID.shape)).sum()

    np.testing.assert_array_equal(jax.grad(weighted)(jnp.asarray(DIFFICULTY)), 0)


def test_with_beta_zero_all_valid_negatives_have_weight_one():
    weight, at_cap = hard_negative.adaptive_weights(DIFFICULTY, VALID, beta=0.0, cap=1.5)
    np.testing.assert_array_equal(weight, VALID.astype(np.float32))
    assert at_cap == 0


def test_the_effective_share_is_small_if_few_negatives_carry_the_weight():
    valid = np.array([[True, True], [True, False], [True, False]])
    weight = np.array([[3.0, 1.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    share = hard_negative.effective_share
    np.testing.assert_allclose(share(weight, valid, axis=0), [1 / 3, 1.0])
    np.testing.assert_allclose(share(weight, valid, axis=None), 16 / (4 * 10))
    np.testing.assert_allclose(share(0 * weight, valid & False, axis=0), 1.0)


def all_terms(zi, zt, zn, valid, weight):
    """Returns the value of each loss of each row, from embeddings."""
    positive = SCALE * (zi * zt).sum(-1)
    negative = SCALE * hard_negative.own(zi, zn)
    zv = hard_negative.perturb(zi, zt, zn, scale=1.0, normalise=True)
    return {
        "itc": itc_with_negatives(zi, zt, zn, valid),
        "text": hard_negative.multimodal(
            positive, SCALE * hard_negative.own(zt, zn), valid, weight
        ),
        "image": hard_negative.multimodal(
            positive, SCALE * hard_negative.own(zi, zv), valid, weight
        ),
        "intra": hard_negative.intra_modal(positive, zt, zn, valid, SCALE, chunk=0),
        "hinge": hard_negative.hinge(positive, negative, valid, jnp.asarray(MARGIN)).sum(-1),
        "align": hard_negative.alignment((zi * zt).sum(-1), 0.3),
    }


def test_invalid_negatives_change_neither_values_nor_gradients():
    noise = np.where(VALID[..., None], ZN, unit(G, K, E))

    @jax.jit
    def run(zn):
        def total(zi, zt, zn):
            terms = all_terms(zi, zt, zn, VALID, WEIGHT)
            return sum(x.sum() for x in terms.values()), terms

        return jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(ZI, ZT, zn)

    jax.tree.map(np.testing.assert_array_equal, run(ZN), run(noise))
    assert not run(ZN)[1][2][~VALID].any()


def test_permuting_the_batch_permutes_the_values():
    order = RNG.permutation(G)
    one = all_terms(ZI, ZT, ZN, VALID, WEIGHT)
    other = all_terms(*(x[order] for x in (ZI, ZT, ZN, VALID, WEIGHT)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[order], b, rtol=2e-5), one, other)


def test_gradients_follow_finite_differences():
    direction = [RNG.normal(size=x.shape).astype(np.float32) for x in (ZI, ZT, ZN)]

    @jax.jit
    def run(t):
        zi, zt, zn = (x + t * d for x, d in zip((ZI, ZT, ZN), direction))
        # The difference that moves the images carries no gradient, so it is held constant.
        zv = zi[:, None] + ZN - ZT[:, None]
        terms = all_terms(zi, zt, zn, VALID, WEIGHT)
        positive = SCALE * (zi * zt).sum(-1)
        terms["image"] = hard_negative.multimodal(
            positive, SCALE * hard_negative.own(zi, zv), VALID, WEIGHT
        )
        return sum(x.sum() for x in terms.values())

    step = 2e-3
    slope = (run(step) - run(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(run)(0.0), slope, rtol=1e-2)
