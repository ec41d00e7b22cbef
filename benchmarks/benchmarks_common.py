"""Shared by the benchmarks of a training step: an experiment, its step, a random batch."""

import jax
from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import sharding
from jaxvl.cli.train import read_config
from jaxvl.data import schema
from jaxvl.data.batches import Batches
from jaxvl.models import MODELS
from jaxvl.state import TrainState
from jaxvl.training import experiment

BERT_WORDS, BERT_SEP, BERT_MASK = 30_522, 102, 103


def load_config(name: str, *, method: str, batch_size: int) -> ConfigDict:
    """Returns an experiment, NAME_OR_FILE[:ARG], with BERT's vocabulary where it has none.

    It starts from random weights, which take as long as published ones.
    """
    config = config_lib.resolve(
        read_config(name, []),
        vocabulary_size=BERT_WORDS,
        mask_token=BERT_MASK,
        end_token=BERT_SEP,
    )
    config.update(method=method, batch_size=batch_size)
    config.mesh.update(data=1, fsdp=1)
    config.model.init = ""
    return config


def make_step(
    config: ConfigDict, *, initialise: bool = True
) -> tuple[TrainState | None, jax.stages.Wrapped, TrainState]:
    """Returns (state or None, the jitted step, the abstract state) on one device."""
    mesh = sharding.make_mesh(config.mesh)
    basis = experiment.Basis(config, mesh, None, MODELS[config.model.name].make(config))
    epoch = Batches(num_examples=1_000 * config.batch_size, steps_per_epoch=1_000, batch=None)
    training = experiment.make_training(basis, epoch)
    first = experiment.first_state(basis, training) if initialise else None
    return first, training.train_step, training.abstract


def random_batch(config: ConfigDict) -> dict[str, jax.Array]:
    """Returns a random global batch."""
    return sharding.to_global(schema.random_batch(config), sharding.make_mesh(config.mesh))


def unrolled_flops(config: ConfigDict) -> float:
    """Returns the operations of one step with unrolled layers, before XLA optimises it."""
    unrolled = config.copy_and_resolve_references()
    unrolled.model.update(scan_layers=False, remat=False)
    _, train_step, abstract = make_step(unrolled, initialise=False)
    return train_step.lower(abstract, random_batch(unrolled)).cost_analysis()["flops"]
