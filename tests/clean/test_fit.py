"""Captions that do not fit: swapped ones come first, and fitting everything a little gains nothing.

Letters: I images, T texts, C captions, E embedding.
"""

import numpy as np

from jaxvl.clean import fit


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def swapped(images=300, width=12, noise=1.0, seed=0):
    """Returns (image embeddings, text embeddings, image_C, text_C, bad_C): 10 % are swapped."""
    rng = np.random.default_rng(seed)
    zi_IxE = unit(rng.normal(size=(images, width)))
    zt_TxE = unit(zi_IxE + noise * unit(rng.normal(size=(images, width))))
    image_C, text_C = np.arange(images), np.arange(images)
    bad = rng.permutation(images)[: images // 10]
    text_C[bad] = np.roll(text_C[bad], 1)
    return zi_IxE, zt_TxE, image_C, text_C, np.isin(image_C, bad)


def auc(score_C, bad_C):
    """The probability that a bad caption has a higher score than a good one."""
    return float((score_C[bad_C][:, None] > score_C[~bad_C][None]).mean())


def test_swapped_captions_come_first():
    *pairs, bad_C = swapped()
    found = fit.judge(*pairs)
    assert auc(-found.margin_C, bad_C) > 0.95
    assert auc(found.random_C, bad_C) > 0.95
    assert 0.8 < found.told_apart < 0.97


def test_random_pairs_fit_a_swapped_caption_as_well_and_a_right_one_not():
    *pairs, bad_C = swapped(noise=0.5)
    found = fit.judge(*pairs)
    assert np.median(found.random_C[~bad_C]) < 0.01
    assert 0.3 < found.random_C[bad_C].mean() < 0.7


def test_a_model_that_knows_nothing_tells_nothing_apart():
    rng = np.random.default_rng(0)
    rows = np.arange(400)
    found = fit.judge(unit(rng.normal(size=(400, 8))), unit(rng.normal(size=(400, 8))), rows, rows)
    assert abs(found.told_apart - 0.5) < 0.05


def test_a_caption_that_fits_everything_a_little_gains_nothing_by_it():
    zi_IxE, zt_TxE, image_C, text_C, bad_C = swapped(noise=0.8)
    common = np.zeros((1, 13), np.float32)
    common[0, -1] = 1.5
    images = unit(np.pad(zi_IxE, ((0, 0), (0, 1))) + common)
    vague_T = np.arange(len(zt_TxE)) % 2 == 0
    texts = unit(np.pad(zt_TxE, ((0, 0), (0, 1))) + common * vague_T[:, None])
    cosine_C = (images[image_C] * texts[text_C]).sum(axis=1)
    margin_C = fit.judge(images, texts, image_C, text_C).margin_C
    assert auc(-cosine_C, bad_C) < 0.9 < auc(-margin_C, bad_C)


def test_the_result_is_always_the_same():
    *pairs, _ = swapped(noise=1.5)
    one, other = fit.judge(*pairs), fit.judge(*pairs)
    assert (one.random_C == other.random_C).all() and one.told_apart == other.told_apart


def test_two_captions_are_judged_too_and_of_many_some_are_the_neighbourhood():
    rows = unit(np.random.default_rng(0).normal(size=(2, 4)))
    assert np.isfinite(fit.judge(rows, rows, np.arange(2), np.arange(2)).random_C).all()
    assert 2_500 < len(fit.spread(np.zeros((12_345, 2)))) <= 5_000
