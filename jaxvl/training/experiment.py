"""From a configuration to everything a run needs: data, model, method, step, state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import files, sharding, state, types, workdir
from jaxvl.data import batches as batches_lib
from jaxvl.data import sources
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError
from jaxvl.interop import load
from jaxvl.training import optim, step
from jaxvl.validate import validate


class Basis(NamedTuple):
    """What training and evaluation share."""

    config: ConfigDict  # checked, with the vocabulary's size filled in
    mesh: Any
    tokenizer: Any
    model: types.Model


class Training(NamedTuple):
    """What the training loop turns on."""

    batches: batches_lib.Batches
    begin: Callable  # (params) -> TrainState at step 0
    abstract: state.TrainState  # shapes and shardings
    train_step: Callable  # (state, batch) -> (state, metrics)
    warn: Callable  # of the method


def open_basis(config):
    """Checks the configuration against the devices and opens tokenizer and model.

    Raises UserError naming the first key that cannot work. Compiles nothing.
    """
    from jaxvl.models import MODELS

    workdir.check_keys(config)
    validate(config, devices=jax.device_count(), processes=jax.process_count())
    config = _with_tokenizer_of_init(config)
    words = tokenizer.load(config.data.tokenizer or _data_directory(config))
    config = _resolve(config, words)
    mesh = sharding.make_mesh(config.mesh)
    return Basis(config, mesh, words, MODELS[config.model.name].make(config))


def _with_tokenizer_of_init(config):
    """Words mean what they meant to the starting weights, where these bring their tokenizer."""
    if config.data.tokenizer or not config.model.init:
        return config
    config = config.copy_and_resolve_references()
    config.data.tokenizer = load.tokenizer_of_init(config.model.init)
    return config


def _resolve(config, words):
    size, special = words.get_vocab_size(), tokenizer.special_ids(words)
    wanted = config.model.text.vocabulary_size
    if wanted and wanted < size:
        raise UserError(
            f"config: model.text.vocabulary_size={wanted} is less than the {size} words of the "
            "tokenizer; 0 takes the tokenizer's"
        )
    return config_lib.resolve(
        config, vocabulary_size=size, mask_token=special.mask, end_token=special.sep
    ).lock()


def _data_directory(config):
    return config.data.dir or config.data.mixture[0][0]


def open_batches(basis):
    """Opens the training data: Batches of this process."""
    data = basis.config.data
    if data.mixture:
        weighted = [
            (sources.open_prepared(directory, split=data.split), weight)
            for directory, weight in data.mixture
        ]
    else:
        source = sources.open_source(data, split=data.split)
        weighted = [(source, 1.0)]
    return batches_lib.make_batches(
        weighted,
        basis.tokenizer,
        data,
        seed=basis.config.seed,
        batch_size=basis.config.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def open_held_out(basis):
    """Opens the split that evaluation reads."""
    config = basis.config
    return sources.open_source(
        config.data, split=config.eval.split, directory=_data_directory(config)
    )


def make_training(basis, batches):
    """Builds method, optimizer and step around opened data."""
    from jaxvl.methods import METHODS

    config = basis.config
    method = METHODS[config.method].make(
        config, basis.model, steps_per_epoch=batches.steps_per_epoch
    )
    optimizer = optim.make_optimizer(config.optim, total_steps=config.total_steps)
    begin = state.make_begin(config, method=method, optimizer=optimizer)
    abstract = state.abstract_state(begin, model=basis.model, method=method, mesh=basis.mesh)
    train_step = step.make_train_step(
        config,
        method=method,
        optimizer=optimizer,
        schedule=optim.make_schedule(config.optim, total_steps=config.total_steps),
        abstract=abstract,
    )
    return Training(batches, begin, abstract, train_step, method.warn)


def first_state(basis, training, *, directory=None):
    """Returns the state before step 0: of `model.init` where given, else drawn from the seed."""
    if basis.config.model.init:
        params = load_init(basis, directory=directory)
        return state.state_from(params, training.begin, abstract=training.abstract)
    return state.initial_state(
        training.begin,
        model=basis.model,
        abstract=training.abstract,
        seed=basis.config.seed,
    )


def load_init(basis, *, directory):
    """Returns the parameters that `model.init` names, and tells what became of every tensor.

    directory: where init.json with this report is left; None: nowhere. Raises UserError where they
    cannot be read or do not fit.
    """
    params, report = load.load(basis.config, model=basis.model, mesh=basis.mesh)
    if jax.process_index() == 0:
        print(load.table(report), flush=True)
        if directory is not None:
            files.write_json(Path(directory) / "init.json", report._asdict())
    return params


def restored_or_first_state(basis, training, checkpoints, *, at_most=None, directory=None):
    """Returns (state, step): of the newest checkpoint (at or before a step), or the first state."""
    steps = [step for step in checkpoints.steps() if at_most is None or step <= at_most]
    if not steps:
        return first_state(basis, training, directory=directory), 0
    return checkpoints.restore(training.abstract, step=steps[-1]), steps[-1]
