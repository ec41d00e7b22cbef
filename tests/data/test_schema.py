"""The schema of a batch: what the data room makes is what the step's border accepts."""

import numpy as np
import pytest
from small import small_config
from small_clip import small_clip_batch, small_clip_config

from jaxvl.data import schema


def full_config():
    """Returns a configuration with negatives and a second view."""
    config = small_clip_config()
    config.data.second_view = True
    return config


@pytest.mark.parametrize("make", [schema.empty_batch, schema.random_batch])
@pytest.mark.parametrize("config", [small_config(), small_clip_config(), full_config()])
def test_the_makers_make_what_the_check_accepts(make, config):
    schema.check_batch(make(config), config)
    schema.check_batch(make(config, rows=3), config, rows=3)


def test_negatives_and_the_second_view_are_there_where_they_are_asked_for():
    plain, full = schema.batch_spec(small_config()), schema.batch_spec(full_config())
    assert not [name for name in plain if name.startswith(("negative", "second"))]
    assert full["negative_ids"].shape == (8, 2, 12) and full["negative_valid"].shape == (8, 2)
    assert full["second_image"].shape == full["image"].shape


def without(batch, name):
    return {key: value for key, value in batch.items() if key != name}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda batch: without(batch, "word_ids"), r"missing \['word_ids'\], unknown \[\]"),
        (lambda batch: {**batch, "labels": 0}, r"missing \[\], unknown \['labels'\]"),
        (lambda batch: {**batch, "token_ids": batch["token_ids"][:, :-1]}, "token_ids"),
        (lambda batch: {**batch, "image": batch["image"].astype(np.float32)}, "image"),
        (lambda batch: {**batch, "image_id": batch["image_id"].astype(np.int64)}, "image_id"),
    ],
)
def test_a_batch_that_differs_is_refused_by_name(change, message):
    batch, config = schema.random_batch(small_config()), small_config()
    with pytest.raises(AssertionError, match=message):
        schema.check_batch(change(batch), config)


def test_a_jitted_function_checks_its_batch_when_it_is_traced():
    import jax

    config = small_clip_config()

    @jax.jit
    def step(batch):
        schema.check_batch(batch, config)
        return batch["image_id"].sum()

    step(small_clip_batch())
    with pytest.raises(AssertionError, match="token_mask"):
        step({**small_clip_batch(), "token_mask": small_clip_batch()["token_ids"]})


def test_random_batches_follow_the_seed_and_have_captions_of_many_lengths():
    config = full_config()
    first, again, other = (schema.random_batch(config, seed=seed) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["image"] != other["image"]).any() and (
        first["image"] != first["second_image"]
    ).any()
    lengths = first["token_mask"].sum(-1)
    assert lengths.min() >= 3 and len(set(lengths)) > 2
    last = first["token_ids"][np.arange(8), lengths - 1]
    assert (last == config.model.text.end_token).all()
    assert 0 < first["negative_valid"].sum() < first["negative_valid"].size
    assert not first["negative_mask"][~first["negative_valid"]].any()
