"""The training loop, one for every method: next batch, step, log, evaluate, save."""

import sys
import time
from pathlib import Path

import jax

from jaxvl import sharding, workdir
from jaxvl.checkpoint import Checkpoints
from jaxvl.data.prefetch import Prefetch
from jaxvl.training import evaluation, experiment
from jaxvl.training.metrics import Clock, Means, Writer, duration, progress_line
from jaxvl.training.nonfinite import NonFinite, is_finite, write_bundle
from jaxvl.training.step import compile_step
from jaxvl.training.stopping import Stop


def train(config, directory):
    """Trains to config.total_steps in the working directory, continuing where it was left.

    config: ConfigDict with the keys of config.base(). Returns the exit code: 0, or 1 where a value
    that is not finite stopped the run. Raises UserError for what can be put right.
    """
    basis = experiment.open_basis(config)
    config = basis.config
    directory = Path(directory)
    workdir.begin(config, directory)
    training = experiment.make_training(basis, experiment.open_batches(basis))
    evaluate = evaluation.make(basis, directory) if config.eval.every_steps else None
    checkpoints = Checkpoints(
        directory, keep=config.checkpoint.keep, best_metric=config.checkpoint.best_metric
    )
    state, first = experiment.restored_or_first_state(
        basis, training, checkpoints, directory=directory
    )
    _say(_headline(basis, training, state, first))
    if evaluate and config.model.init and not first:
        evaluate.of_start(state.params)
    log = Log(config, directory, first, warn=training.warn)
    try:
        _loop(basis, training, state, first, log=log, evaluate=evaluate, checkpoints=checkpoints)
    except NonFinite as failure:
        checkpoints.close()
        newest = max(checkpoints.steps(), default=0)
        path = write_bundle(failure, directory, checkpoint_step=newest)
        print(
            f"step {failure.step} is not finite, stopped; run it again with: "
            f"python -m jaxvl.main --replay {path}",
            file=sys.stderr,
        )
        return 1
    finally:
        log.close()
        checkpoints.close()
    if evaluate:
        evaluate.show_last()
    return 0


def _loop(basis, training, state, first, *, log, evaluate, checkpoints):
    config, mesh = basis.config, basis.mesh
    saved = first
    steps = range(first, config.total_steps)
    compiled = None
    with (
        Stop() as stop,
        Prefetch(
            training.batches.batch,
            steps,
            depth=config.data.prefetch_batches,
            threads=config.data.loader_threads,
        ) as batches,
    ):
        asked_at = time.monotonic()
        for step, batch in batches:
            waited = time.monotonic() - asked_at
            global_batch = sharding.to_global(batch, mesh)
            if compiled is None:
                compiled, waited = _compile(training, global_batch), 0.0
                log.clock.restart()
            state, metrics = compiled(state, global_batch)
            # One step late: the numbers of the step before are there by now, so that reading
            # them does not hold up the device.
            log.add(step, batch["example_id"], metrics, waited=waited)

            done = step + 1
            stopping = stop.asked(done)
            evaluating = evaluate and _is_due(done, config.eval.every_steps, config)
            saving = stopping or evaluating or _is_due(done, config.checkpoint.every_steps, config)
            if saving:
                log.settle()  # what is not finite must never be saved
                scores = {}
                if evaluating:
                    scores = evaluate(state.params if state.ema is None else state.ema, step=done)
                    log.scores(scores, evaluate.panel, step=done)
                checkpoints.save(state, step=done, metrics=scores)
                saved = done
                log.clock.restart()
            if stopping:
                _say(f"stopped after step {done}, saved; the same command continues")
                return
            asked_at = time.monotonic()
    log.settle()
    assert saved == max(first, config.total_steps)


def _is_due(done, every_steps, config):
    return done == config.total_steps or (every_steps and done % every_steps == 0)


def _compile(training, batch):
    _say("compiling the training step")
    start = time.monotonic()
    compiled = compile_step(training.train_step, training.abstract, batch)
    _say(f"compiled in {duration(time.monotonic() - start)}")
    return compiled


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


def _say(line):
    if jax.process_index() == 0:
        print(line, flush=True)


class Log:
    """Collects the steps' numbers one step late, and stops at the first that is not finite."""

    def __init__(self, config, directory, first, *, warn):
        """Opens metrics.jsonl and TensorBoard, in the first process only. warn: of the method."""
        self._total, self._every = config.total_steps, config.log.every_steps
        self._means, self._pending = Means(), None
        self._warn, self._warned = warn, False
        self.clock = Clock(batch_size=config.batch_size)
        self._writer = None
        if jax.process_index() == 0:
            self._writer = Writer(directory, from_step=first, tensorboard=config.log.tensorboard)

    def add(self, step, example_ids, metrics, *, waited):
        """Notes a step's numbers, which may still be computed; settles those of the one before."""
        self.settle()
        self._pending = (step, example_ids, metrics)
        self.clock.add_step(waited=waited)

    def settle(self):
        """Waits for the numbers noted last. Raises NonFinite."""
        if self._pending is None:
            return
        (step, example_ids, metrics), self._pending = self._pending, None
        metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not is_finite(metrics):
            raise NonFinite(step, example_ids, metrics)
        self._means.add(metrics)
        if _is_line(step + 1, self._every, self._total):
            self._write(step + 1, metrics["learning_rate"])

    def _write(self, step, learning_rate):
        values = {**self._means.take(), "learning_rate": learning_rate, **self.clock.take()}
        if self._writer:
            self._writer.write(values, step=step)
            _say(progress_line(values, step=step, total_steps=self._total))
        warning = self._warn(values)
        if warning and not self._warned:  # once, until it has been well again
            _say(f"warning: {warning}")
        self._warned = bool(warning)

    def scores(self, scores, panel, *, step):
        """Writes an evaluation's scores and shows its panel of pictures."""
        if self._writer:
            self._writer.write(scores, step=step)
            if panel:
                self._writer.picture("what each word looks at", panel, step=step)

    def close(self):
        """Closes the files."""
        if self._writer:
            self._writer.close()


def _is_line(step, every, total):
    return step == total or step % every == 0
