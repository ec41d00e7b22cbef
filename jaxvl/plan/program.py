"""The training step of an experiment for devices that need not be here, as `jaxvl train` makes it.

Everything is abstract: no array is made, and the data set need not be there.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import sharding, validate, workdir
from jaxvl.data import schema
from jaxvl.data.text import tokenizer
from jaxvl.models import MODELS
from jaxvl.state import TrainState
from jaxvl.training import experiment

# Of the published tokenizer of each model: words, the ids of its mask token and its end token.
PUBLISHED = {"albef": ("BERT", 30_522, 103, 102), "clip": ("CLIP", 49_408, 49_407, 49_407)}
STEPS_PER_EPOCH = 1_000  # the step has it as a constant, which changes nothing that is planned


class Program(NamedTuple):
    """A step that can be compiled. words: which vocabulary it has, for people."""

    config: ConfigDict
    mesh: Mesh
    words: str
    abstract: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]  # global, with shardings
    train_step: jax.stages.Wrapped


def make(config: ConfigDict, devices: Sequence[Any], *, processes: int) -> Program:
    """Returns the Program of an experiment on these devices.

    Raises UserError naming the first key whose value cannot work on so many.
    """
    workdir.check_keys(config)
    validate.validate(config, devices=len(devices), processes=processes)
    config, words = with_vocabulary(config)
    mesh = sharding.make_mesh(config.mesh, devices=devices)
    nothing: Any = None  # the step asks for no tokenizer, and of the data for one number
    basis = experiment.Basis(config, mesh, nothing, MODELS[config.model.name].make(config))
    epoch: Any = SimpleNamespace(steps_per_epoch=STEPS_PER_EPOCH)
    training = experiment.make_training(basis, epoch)
    train_step = cast(jax.stages.Wrapped, training.train_step)
    where = sharding.batch_sharding(mesh)
    batch = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
        for name, leaf in schema.batch_spec(config).items()
    }
    return Program(config, mesh, words, training.abstract, batch, train_step)


def with_vocabulary(config: ConfigDict) -> tuple[ConfigDict, str]:
    """Returns (the configuration with the size of its vocabulary, where that comes from).

    It is that of the tokenizer where it is there, else what the configuration says, else that of
    the tokenizer which the model was published with.
    """
    place = config.data.tokenizer or experiment.data_name(config)
    if Path(place).exists():
        words = tokenizer.load(place)
        special = tokenizer.special_ids(words)
        size, mask, end, name = words.get_vocab_size(), special.mask, special.sep, place
    else:
        name, size, mask, end = PUBLISHED[config.model.name]
        name = f"{name}, because there is no tokenizer at {place}"
    given = config.model.text.vocabulary_size
    config = config_lib.resolve(config, vocabulary_size=size, mask_token=mask, end_token=end)
    if given:
        name = "model.text.vocabulary_size"
    return config, f"{config.model.text.vocabulary_size:,} words: {name}"
