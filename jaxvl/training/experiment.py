"""From a configuration to everything a run needs: data, model, method, step, state."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl import checkpoint, files, paths, sharding, state, types, workdir
from jaxvl import config as config_lib
from jaxvl.checkpoint import Checkpoints
from jaxvl.data import sources, store, texts
from jaxvl.data.text import tokenizer
from jaxvl.data.text.scripts import check_installed
from jaxvl.errors import UserError, printable
from jaxvl.interop import load
from jaxvl.keys import nearest
from jaxvl.losses import itm
from jaxvl.training import optim, step
from jaxvl.validate import validate

if TYPE_CHECKING:  # opening a trained model needs no TensorFlow
    from jaxvl.data.batches import Batches


class Basis(NamedTuple):
    """The parts that training and evaluation share."""

    config: ConfigDict  # checked, with the vocabulary's size filled in
    mesh: Mesh
    tokenizer: Tokenizer
    model: types.Model


class Training(NamedTuple):
    """The parts that the training loop needs besides the basis."""

    batches: "Batches"
    begin: Callable  # (params) -> TrainState at step 0
    abstract: state.TrainState  # shapes and shardings
    train_step: Callable  # (state, batch) -> (state, metrics)
    warn: Callable  # of the method: (mean metrics) -> a line, or None


def load_run(directory: Path | str) -> ConfigDict:
    """Returns the configuration of a run, for the devices of this machine.

    Raises UserError where the directory is not the working directory of a run.
    """
    config = workdir.use_own_tokenizer(workdir.load_config(directory), directory)
    config.mesh.update(data=-1, fsdp=1)
    return config


def evaluate_on(
    config: ConfigDict,
    *,
    split: str | None = None,
    data: Path | str | None = None,
    benchmark: tuple[str, dict] | None = None,
) -> None:
    """Points the evaluation of a run's configuration at something else, where it is given.

    split: of the data set. data: a prepared data set. benchmark: (name, its keys in config.evals);
    only this one and retrieval are then evaluated, because tuning for one can cost the other.
    Raises UserError for a benchmark that does not exist.
    """
    config.eval.split = split or config.eval.split
    if data:
        use_data(config, data)
    if benchmark:
        _use_benchmark(config, *benchmark)


def _use_benchmark(config, name, keys):
    from jaxvl.evals import benchmarks

    if name not in benchmarks():
        near = nearest(name, benchmarks())
        raise UserError(f"there is no benchmark {name}, only {', '.join(benchmarks())}{near}")
    for other in config.evals:
        if other != "retrieval":
            config.evals[other] = None
    config.evals[name] = keys


def use_data(config: ConfigDict, directory: Path | str) -> None:
    """Points a run's configuration at another prepared data set, read with the run's tokenizer."""
    config.data.tokenizer = config.data.tokenizer or _data_directory(config)
    config.data.words = _words(config)
    config.data.source = "prepared"
    config.data.dir = str(directory)


def open_basis(config: ConfigDict) -> Basis:
    """Checks the configuration against the devices and opens tokenizer and model.

    Compiles nothing. Raises UserError naming the first key that cannot work.
    """
    from jaxvl.models import MODELS

    check(config)
    config = _with_tokenizer_of_init(config)
    words = _open_tokenizer(config)
    config = _resolve(config, words)
    check_installed(config.data.words)
    mesh = sharding.make_mesh(config.mesh)
    return Basis(config, mesh, words, MODELS[config.model.name].make(config))


def check(config: ConfigDict) -> None:
    """Raises UserError naming the first key whose value cannot work on these devices."""
    workdir.check_keys(config)
    validate(config, devices=jax.device_count(), processes=jax.process_count())


def _with_tokenizer_of_init(config):
    """Uses the tokenizer of model.init where it has one, so that token ids match the weights."""
    if config.data.tokenizer or not config.model.init:
        return config
    config = config.copy_and_resolve_references()
    config.data.tokenizer = load.tokenizer_of_init(config.model.init)
    return config


def _open_tokenizer(config):
    directory = _data_directory(config)
    if not config.data.tokenizer and not paths.of(directory).is_dir():
        raise UserError(
            f"config: data.dir={directory!r} does not exist; `jaxvl prepare` makes a data set"
        )
    return tokenizer.load(config.data.tokenizer or directory)


def _resolve(config, words):
    size, special = words.get_vocab_size(), tokenizer.special_ids(words)
    wanted = config.model.text.vocabulary_size
    if wanted and wanted < size:
        raise UserError(
            f"config: model.text.vocabulary_size={wanted} is less than the {size} words of the "
            "tokenizer; 0 takes the tokenizer's"
        )
    config = config_lib.resolve(
        config, vocabulary_size=size, mask_token=special.mask, end_token=special.sep
    )
    for name in ("mask_token", "end_token"):
        if config.model.text[name] >= config.model.text.vocabulary_size:
            raise UserError(
                f"config: model.text.{name}={config.model.text[name]} is not one of the "
                f"{config.model.text.vocabulary_size} ids of model.text.vocabulary_size"
            )
    config.unlock().data.words = _words(config)
    blocks = itm.blocks_of(config.batch_size, config.loss.itm_negative_blocks)
    config.loss.itm_negative_blocks = blocks  # so that a run keeps it, whatever 0 comes to mean
    return config.lock()


def _words(config):
    """Returns data.words, or what is stored with the data."""
    return config.data.words or store.words_of(_data_directory(config))


def data_name(config: ConfigDict) -> str:
    """Returns the name of a configuration's data set, for people."""
    return config.data.name if config.data.source == "tfds" else _data_directory(config)


def _data_directory(config):
    mixture = config.data.mixture
    return config.data.dir or (mixture[0][0] if mixture else "")


def open_sources(config: ConfigDict) -> list[tuple[sources.Source, float]]:
    """Returns what a run is trained on: sources and their weights."""
    data = config.data
    if not data.mixture:
        return [(sources.open_source(data, split=data.split), 1.0)]
    return [
        (sources.open_prepared(directory, split=data.split), weight)
        for directory, weight in data.mixture
    ]


def open_batches(basis: Basis) -> "Batches":
    """Returns the training batches of this process.

    Raises UserError where data.negatives names hard negatives, and no caption has one, and where
    there is one image only, or one caption for all.
    """
    from jaxvl.data import batches
    from jaxvl.data.negatives.valid import check_some

    weighted = open_sources(basis.config)
    if sum(source.num_examples for source, _ in weighted) < 2:
        raise UserError(
            f"{weighted[0][0].name} holds one image: it has no other to be told from, so the loss "
            "is constant"
        )
    if len(weighted) == 1:
        texts.check_differ(weighted[0][0], basis.tokenizer, basis.config.data)
    for source, _ in weighted:
        check_some(source, basis.tokenizer, basis.config.data)
        say_notes(basis, source)
    return batches.make_batches(
        weighted,
        basis.tokenizer,
        basis.config.data,
        seed=basis.config.seed,
        batch_size=basis.config.batch_size,
        rows=sharding.rows_of_process(basis.mesh, basis.config.batch_size),
    )


def say_notes(basis: Basis, source: sources.Source) -> None:
    """Prints, in one process, how many captions are cut, unread or read alike."""
    if jax.process_index() == 0:
        for line in texts.notes(source, basis.tokenizer, basis.config.data):
            print(printable(line), flush=True)


def open_held_out(basis: Basis) -> sources.Source:
    """Returns the split that evaluation reads. Raises UserError where there is none."""
    config = basis.config
    return sources.open_source(
        config.data, split=config.eval.split, directory=_data_directory(config)
    )


def make_training(basis: Basis, batches: "Batches") -> Training:
    """Returns method, optimizer and step around opened data."""
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


def first_state(
    basis: Basis, training: Training, *, directory: Path | str | None = None
) -> state.TrainState:
    """Returns the state at step 0: of `model.init` where it is given, else drawn from the seed.

    directory: where init.json is written, a report of every tensor of `model.init`.
    """
    if basis.config.model.init:
        params = load_init(basis, directory=directory)
        return state.state_from(params, training.begin, abstract=training.abstract)
    return state.initial_state(
        training.begin,
        model=basis.model,
        abstract=training.abstract,
        seed=basis.config.seed,
    )


def load_init(basis: Basis, *, directory: Path | str | None) -> types.Params:
    """Returns the parameters that `model.init` names, and prints a report of every tensor.

    directory: where the report is also written, as init.json; None for nowhere.
    Raises UserError where the weights cannot be read or do not fit.
    """
    params, report = load.load(
        basis.config, model=basis.model, mesh=basis.mesh, tokenizer=basis.tokenizer
    )
    if jax.process_index() == 0:
        print(load.table(report), flush=True)
        if directory is not None:
            files.write_json(paths.of(directory) / "init.json", report._asdict())
    return params


def restored_or_first_state(
    basis: Basis,
    training: Training,
    checkpoints: Checkpoints,
    *,
    at_most: int | None = None,
    directory: Path | str | None = None,
) -> tuple[state.TrainState, int]:
    """Returns (state, step) of the newest whole checkpoint, or the first state where none is there.

    A line on stderr names one that is damaged, which is moved out of the way.
    at_most: the newest at or before this step; nothing is moved. directory: as in `first_state`.
    """
    steps = [step for step in checkpoints.steps() if at_most is None or step <= at_most]
    if not steps:
        return first_state(basis, training, directory=directory), 0
    return checkpoint.first_whole(
        steps,
        lambda step: checkpoints.restore(training.abstract, step=step),
        directory=checkpoints.directory,
        set_aside=checkpoints.set_aside if at_most is None else None,
    )
