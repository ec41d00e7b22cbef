"""A tiny CLIP and a batch of noise with hard negatives, for tests of models and methods."""

import jax.numpy as jnp
import numpy as np

from jaxvl.config import base

WORDS, START, END, LENGTH, KINDS = 40, 38, 39, 12, ("swap", "replace")


def small_clip_config():
    """Returns a configuration with two layers of width 16 per encoder and images of 16 pixels."""
    config = base()
    config.method = config.model.name = "clip"
    config.ahnpl.positive = "cross"  # the golden values are of this one
    config.batch_size = 8
    config.data.update(
        image_size=16, max_tokens=LENGTH, add_sep=True, negatives="own", negative_kinds=KINDS
    )
    config.model.embed_size = 8
    config.model.image.update(patch_size=4, layers=2, width=16, heads=2, mlp_width=32)
    config.model.text.update(
        layers=2,
        width=16,
        heads=2,
        mlp_width=32,
        positions=LENGTH,
        vocabulary_size=WORDS,
        end_token=END,
    )
    return config


def small_clip_batch(rows=8, seed=0, longest=LENGTH):
    """Returns a batch of noise: texts of 3 to `longest` tokens; every third negative is missing.

    The golden values of CLIP and AHNPL belong to these draws.
    """
    rng = np.random.default_rng(seed)
    ids, mask = texts(rng, (rows,), longest)
    negative_ids, negative_mask = texts(rng, (rows, len(KINDS)), longest)
    valid = np.arange(rows * len(KINDS)).reshape(rows, -1) % 3 > 0
    number = np.arange(rows, dtype=np.int32)
    batch = {
        "image": rng.integers(0, 256, (rows, 16, 16, 3), dtype=np.uint8),
        "token_ids": ids,
        "token_mask": mask,
        "word_ids": np.where(mask, 0, -1).astype(np.int32),
        "image_id": number,
        "caption_id": number,
        "example_id": number,
        "negative_ids": np.where(valid[..., None], negative_ids, 0),
        "negative_mask": negative_mask & valid[..., None],
        "negative_valid": valid,
        "negative_caption_id": 100 + np.arange(valid.size, dtype=np.int32).reshape(rows, -1),
    }
    return {name: jnp.asarray(value) for name, value in batch.items()}


def texts(rng, shape, longest):
    """Returns (ids, mask), [*shape, LENGTH] both: START, words, END, then padding of 0."""
    place = np.broadcast_to(np.arange(LENGTH), (*shape, LENGTH))
    end = rng.integers(2, longest, shape)[..., None]
    ids = np.where(place < end, rng.integers(1, START, place.shape), 0)
    ids[..., 0] = START
    ids = np.where(place == end, END, ids)
    return ids.astype(np.int32), place <= end
