"""A training step of a small model on a mesh, and random batches for it."""

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import sharding, state
from jaxvl.data import schema
from jaxvl.methods import METHODS
from jaxvl.models import MODELS
from jaxvl.training import optim, step


def mesh_of(data, fsdp):
    return sharding.make_mesh(
        ConfigDict(dict(data=data, fsdp=fsdp)), devices=jax.devices()[: data * fsdp]
    )


def batch_of(seed):
    """Returns a batch of noise for a model of 100 words that sees images of 32 pixels."""
    config = config_lib.base()
    config.batch_size = 8
    config.data.update(image_size=32, max_tokens=12)
    config.model.text.vocabulary_size = 100
    return schema.random_batch(config, seed=seed)


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
