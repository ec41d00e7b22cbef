"""A training step of a small model on a mesh, and random batches for it.

Letters: G batch, L text tokens.
"""

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import sharding, state
from jaxvl.methods import METHODS
from jaxvl.models import MODELS
from jaxvl.training import optim, step

G, L = 8, 12


def mesh_of(data, fsdp):
    return sharding.make_mesh(
        ConfigDict(dict(data=data, fsdp=fsdp)), devices=jax.devices()[: data * fsdp]
    )


def batch_of(seed):
    rng = np.random.default_rng(seed)
    length_G = rng.integers(4, L + 1, G)
    mask_GxL = np.arange(L)[None] < length_G[:, None]
    words_GxL = np.broadcast_to(np.arange(L, dtype=np.int32) - 1, (G, L))
    return {
        "image": rng.integers(0, 256, (G, 32, 32, 3), dtype=np.uint8),
        "token_ids": np.where(mask_GxL, rng.integers(5, 100, (G, L)), 0).astype(np.int32),
        "token_mask": mask_GxL,
        "word_ids": np.where(mask_GxL, words_GxL, -1).astype(np.int32),
        "image_id": np.arange(G, dtype=np.int32),
        "example_id": np.arange(G, dtype=np.int32),
    }


def build(config, mesh):
    """Returns (state, train_step, method, abstract) on a mesh."""
    config = config_lib.resolve(config, vocabulary_size=100, mask_token=4)
    model = MODELS[config.model.name].make(config)
    method = METHODS[config.method].make(config, model, steps_per_epoch=5)
    optimizer = optim.make_optimizer(config.optim, total_steps=config.total_steps)
    begin = state.make_begin(config, method=method, optimizer=optimizer)
    abstract = state.abstract_state(begin, model=model, method=method, mesh=mesh)
    schedule = optim.make_schedule(config.optim, total_steps=config.total_steps)
    train_step = step.make_train_step(
        config, method=method, optimizer=optimizer, schedule=schedule, abstract=abstract
    )
    first = state.initial_state(begin, model=model, abstract=abstract, seed=config.seed)
    return first, train_step, method


def on_host(tree):
    return jax.tree.map(np.array, tree)
