"""The training loop, one for every method: next batch, step, log, evaluate, save."""

import contextlib
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from jaxvl import files, paths, sharding, workdir
from jaxvl.checkpoint import Checkpoints, checkpoint_steps
from jaxvl.data.prefetch import Prefetch
from jaxvl.training import alike, evaluation, exits, experiment, needed, peers, record
from jaxvl.training.evaluation import Evaluation
from jaxvl.training.experiment import Basis, Training
from jaxvl.training.log import Log, say
from jaxvl.training.metrics import duration
from jaxvl.training.nonfinite import NonFinite, write_bundle
from jaxvl.training.peers import Peers
from jaxvl.training.step import compile_step
from jaxvl.training.stopping import Stop
from jaxvl.training.watchdog import COMPILING, EVALUATING, READING, SAVING, STEPPING


class _Run(NamedTuple):
    """The parts that the loop needs besides the state and the log."""

    basis: Basis
    training: Training
    evaluator: Evaluation | None  # None where eval.every_steps is 0
    checkpoints: Checkpoints
    peers: Peers
    directory: Path


def train(config: ConfigDict, directory: Path | str) -> int:
    """Trains to config.total_steps in a working directory, or continues the run that is there.

    config: with the keys of jaxvl.config.base(). Returns the exit code of the command, one of
    jaxvl.training.exits.
    Raises UserError for what the user can put right.
    """
    started = time.monotonic()
    with peers.watched() as others:
        alike.check(alike.program(config))
        return _open_and_train(config, paths.of(directory), others, started)


def _open_and_train(config, directory, others, started):
    given, config = config, workdir.use_own_tokenizer(config, directory)
    experiment.check(config)
    needed.check(config, started=bool(checkpoint_steps(directory)))
    basis = experiment.open_basis(config)
    stored = basis.config.copy_and_resolve_references().unlock()
    if (directory / workdir.TOKENIZER).is_file():
        stored.data.tokenizer = given.data.tokenizer
    workdir.check_continues(stored, directory)
    training = experiment.make_training(basis, experiment.open_batches(basis))
    evaluator = None
    if config.eval.every_steps:
        evaluator = Evaluation(basis, source=experiment.open_held_out(basis))
    with workdir.claimed(directory) if evaluation.is_chief() else contextlib.nullcontext():
        data = _begin(basis, stored, directory)
        checkpoints = Checkpoints(
            directory, keep=config.checkpoint.keep, best_metric=config.checkpoint.best_metric
        )
        with files.storage_named(directory, lambda: _how_to_go_on(checkpoints)):
            run = _Run(basis, training, evaluator, checkpoints, others, directory)
            return _train(run, data, started)


def _begin(basis, stored, directory):
    """Writes what the run is, or checks that it is the one there. Returns what its data is."""
    config = basis.config
    held_out = experiment.open_held_out(basis) if config.eval.every_steps else None
    data = record.data_of(config, experiment.open_sources(config), held_out)
    alike.check(alike.data(data, basis.tokenizer, steps=checkpoint_steps(directory)))
    record.check_data(directory, data)
    if evaluation.is_chief():
        workdir.begin(stored, directory, tokenizer=basis.tokenizer)
    return data


def _train(run, data, started):
    """Trains from the newest checkpoint, and closes everything. Returns the exit code."""
    config, directory, checkpoints = run.basis.config, run.directory, run.checkpoints
    if config.model.init and not checkpoints.steps():
        alike.check(alike.weights(config.model.init))
    state, first = experiment.restored_or_first_state(
        run.basis, run.training, checkpoints, directory=directory
    )
    say(_headline(run.basis, run.training, state, first))
    if evaluation.is_chief():
        record.add_start(directory, data, step=first)
    if run.evaluator and config.model.init and not first:
        evaluation.write_start(run.evaluator, state.params, directory)
    # The run may have ended while it evaluated this step.
    due = first and run.evaluator and _is_due(first, config.eval.every_steps, config)
    again = bool(due) and checkpoints.scores(first) is None
    log = Log(config, directory, first, warn=run.training.warn, started=started, again=again)
    try:
        if again:
            _evaluate(run, log, state, first)
        stopped = _loop(run, log, state, first)
    except NonFinite as failure:
        _report(failure, run)
        return exits.FAILED
    finally:
        log.close()
        checkpoints.close()
    if run.evaluator:
        evaluation.show(directory / evaluation.RESULTS)
    return exits.STOPPED if stopped else exits.FINISHED


def _how_to_go_on(checkpoints):
    steps = checkpoints.steps()
    saved = f"step {steps[-1]} is saved" if steps else "no step is saved yet"
    return f"{saved}; make room or make it writable, and give the same command again"


def _loop(run, log, state, first):
    """Makes the steps. Returns whether it was stopped with something left to do."""
    config = run.basis.config
    compiled, saved = None, first
    run.peers.begin(run.directory, step=first, seconds=config.watchdog_seconds)
    run.peers.at(first, READING)
    with (
        Stop() as stop,
        Prefetch(
            run.training.batches.batch,
            range(first, config.total_steps),
            depth=config.data.prefetch_batches,
            threads=config.data.loader_threads,
        ) as batches,
    ):
        asked_at = time.monotonic()
        for step, batch in batches:
            waited = time.monotonic() - asked_at
            global_batch = sharding.to_global(batch, run.basis.mesh)
            if compiled is None:
                run.peers.at(step, COMPILING)
                compiled, waited = _compile(run.training, global_batch), 0.0
                log.clock.restart()
            run.peers.at(step, STEPPING)
            state, metrics = compiled(state, global_batch)
            # Metrics are read one step late, when they have been computed: reading them then does
            # not make the device wait.
            log.add(step, global_batch["example_id"], metrics, waited=waited)

            done = step + 1
            stopping = stop.asked(done)
            evaluating = bool(run.evaluator) and _is_due(done, config.eval.every_steps, config)
            if stopping or evaluating or _is_due(done, config.checkpoint.every_steps, config):
                _save(run, log, state, done, evaluating=evaluating and not stopping)
                saved = done
            run.peers.at(done, SAVING)
            run.checkpoints.check()
            if stopping:
                say(f"stopped after step {done}, saved; the same command continues the run")
                return evaluating or done < config.total_steps
            run.peers.at(done, READING)
            asked_at = time.monotonic()
    run.peers.at(config.total_steps, SAVING)
    log.settle()
    assert saved == max(first, config.total_steps)
    return False


def _save(run, log, state, done, *, evaluating):
    """Saves the state after `done` steps, and then evaluates it where that is due."""
    log.settle()  # raises NonFinite: such a state must never be saved
    run.peers.at(done, SAVING)
    run.checkpoints.save(state, step=done)
    if evaluating:
        run.peers.at(done, EVALUATING)
        _evaluate(run, log, state, done)
    log.clock.restart()


def _evaluate(run, log, state, done):
    params = state.params if state.ema is None else state.ema
    out = run.directory / evaluation.RESULTS
    scores = evaluation.write_results(run.evaluator, params, out, step=done, goodput=log.goodput)
    panel = run.evaluator.draw_panel(params, evaluation.panel_path(run.directory, done))
    log.scores(scores, panel, step=done)
    run.checkpoints.add_scores(done, scores)  # last: a step without is evaluated again


def _is_due(done, every_steps, config):
    return done == config.total_steps or (every_steps and done % every_steps == 0)


def _compile(training, batch):
    say("compiling the training step")
    start = time.monotonic()
    compiled = compile_step(training.train_step, training.abstract, batch)
    say(f"compiled in {duration(time.monotonic() - start)}")
    return compiled


def _report(failure, run):
    run.peers.at(failure.step, SAVING)
    run.checkpoints.close()
    newest = max(run.checkpoints.steps(), default=0)
    bundle = write_bundle(failure, run.directory, checkpoint_step=newest)
    print(
        f"stopped: the loss, the gradient or the update of step {failure.step} is not finite; "
        f"jaxvl train --replay {bundle} repeats the steps that led to it",
        file=sys.stderr,
    )


def _headline(basis, training, state, first):
    config, batches = basis.config, training.batches
    millions = sum(leaf.size for leaf in jax.tree.leaves(state.params)) / 1e6
    axes = " x ".join(f"{name} {size}" for name, size in basis.mesh.shape.items())
    start = f"continuing from step {first}" if first else "starting"
    if first >= config.total_steps:
        start = f"already trained to step {first}"
    return (
        f"{config.method}: {millions:.1f} M parameters, {batches.num_examples} examples, "
        f"{batches.steps_per_epoch} steps an epoch, mesh {axes}; {start}"
    )
