"""What the benchmarks of a training step share: an experiment, its step, a batch of noise."""

import importlib.util

from jaxvl import config as config_lib
from jaxvl import sharding
from jaxvl.data import schema
from jaxvl.data.batches import Batches
from jaxvl.models import MODELS
from jaxvl.training import experiment

BERT_WORDS, BERT_MASK = 30_522, 103


def load_config(path, *, method, batch_size):
    """Returns the experiment FILE.py[:ARG] with BERT's vocabulary where it names none."""
    name, _, argument = path.partition(":")
    spec = importlib.util.spec_from_file_location("experiment", name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(argument) if argument else module.get_config()
    config = config_lib.resolve(config, vocabulary_size=BERT_WORDS, mask_token=BERT_MASK)
    config.update(method=method, batch_size=batch_size)
    config.mesh.update(data=1, fsdp=1)
    return config


def make_step(config, *, initialise=True):
    """Returns (state or None, the jitted step, the abstract state) on one device."""
    mesh = sharding.make_mesh(config.mesh)
    basis = experiment.Basis(config, mesh, None, MODELS[config.model.name].make(config))
    epoch = Batches(num_examples=1_000 * config.batch_size, steps_per_epoch=1_000, batch=None)
    training = experiment.make_training(basis, epoch)
    first = experiment.first_state(basis, training) if initialise else None
    return first, training.train_step, training.abstract


def random_batch(config):
    """Returns a global batch of noise."""
    return sharding.to_global(schema.random_batch(config), sharding.make_mesh(config.mesh))


def unrolled_flops(config):
    """Returns the operations of one step with its layers unrolled, before XLA rewrites it."""
    unrolled = config.copy_and_resolve_references()
    unrolled.model.update(scan_layers=False, remat=False)
    _, train_step, abstract = make_step(unrolled, initialise=False)
    return train_step.lower(abstract, random_batch(unrolled)).cost_analysis()["flops"]
