"""A tiny ALBEF model and a batch of noise, for tests of models, operations and methods."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvl.config import base
from jaxvl.data import schema

WORDS, MASK_TOKEN, LENGTH = 40, 4, 8


def small_config():
    """Returns a configuration with three fusion layers of width 16 and images of 16 pixels."""
    config = base()
    config.batch_size = 8
    config.data.image_size, config.data.max_tokens = 16, LENGTH
    config.model.embed_size = 8
    config.model.image.update(patch_size=4, layers=2, width=16, heads=2, mlp_width=32)
    config.model.text.update(
        layers=1,
        fusion_layers=3,
        width=16,
        heads=2,
        mlp_width=32,
        positions=16,
        dropout=0.0,
        vocabulary_size=WORDS,
        mask_token=MASK_TOKEN,
    )
    config.softmask.layer = 1
    config.momentum.queue_size = 16
    return config


def small_batch(rows=8, seed=0):
    """Returns a training batch of noise with captions of 3 to 8 tokens, one token per word."""
    batch = schema.random_batch(small_config(), rows=rows, seed=seed)
    return {name: jnp.asarray(value) for name, value in batch.items()}


def under_way(slots):
    """Returns slots as in the middle of a run: moved momentum encoders, a half-filled queue."""
    rng = np.random.default_rng(5)
    queue = dict(slots["queue"])
    for name in ("image", "text"):
        z = rng.normal(size=(8, queue[name].shape[1]))
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        queue[name] = queue[name].at[:8].set(z)
    queue["ids"] = queue["ids"].at[:8].set(100 + jnp.arange(8)[:, None])
    queue["position"] = queue["position"] + 8
    momentum_params = jax.tree.map(lambda x: x + rng.normal(0, 0.05, x.shape), slots["twins"])
    return {**slots, "queue": queue, "twins": momentum_params}
