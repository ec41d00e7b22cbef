"""What a run says: progress lines, metrics.jsonl, event files, warnings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxvl.training.goodput import Spent
from jaxvl.training.metrics import Clock, Means, progress_line
from jaxvl.training.nonfinite import NonFinite, is_finite
from jaxvl.training.writer import Writer


def say(line: str) -> None:
    """Prints a line, in the first process only."""
    if jax.process_index() == 0:
        print(line, flush=True)


class Log:
    """Collects the metrics of the steps one step late; stops at the first that is not finite."""

    def __init__(
        self,
        config: ConfigDict,
        directory: Path,
        first: int,
        *,
        warn: Callable[[Mapping[str, float]], str | None],
        started: float,
        again: bool = False,
    ) -> None:
        """Opens the files, in the first process only.

        first: step that the run starts or continues at. warn: of types.Method. started: when, by
        time.monotonic. again: the evaluation after `first` is made again.
        """
        self._total, self._every = config.total_steps, config.log.every_steps
        self._means, self._pending = Means(), None
        self._warn, self._warned = warn, False
        self._done, self._told = first, set()
        self.clock = Clock(batch_size=config.batch_size)
        self._writer = self._spent = None
        if jax.process_index() == 0:
            self._writer = Writer(
                directory, from_step=first, tensorboard=config.log.tensorboard, again=again
            )
            self._spent = Spent(directory, started=started)

    def add(
        self, step: int, example_ids: Any, metrics: Mapping[str, jax.Array], *, waited: float
    ) -> None:
        """Takes the metrics of a step, which may not be computed yet; settles those before it.

        example_ids: of the whole batch, int32 [G]. waited: seconds that the step waited for data.
        """
        self.settle()
        self._pending = (step, example_ids, metrics)
        self.clock.add_step(waited=waited)

    def settle(self) -> None:
        """Waits for the metrics taken last. Raises NonFinite."""
        if self._pending is None:
            return
        (step, example_ids, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self.clock.count()
        if not is_finite(values):
            raise NonFinite(step, example_ids, values)
        self._means.add(values)
        self._done = done = step + 1
        if done == self._total or done % self._every == 0:
            self._write(done, values["learning_rate"])

    def _write(self, done, learning_rate):
        values = {**self._means.take(), "learning_rate": learning_rate, **self.clock.take()}
        if self._writer:
            self._writer.write(values, step=done)
            say(progress_line(values, step=done, total_steps=self._total))
        if self._spent:
            self._spent.add(done, in_steps=self.clock.in_steps)
        warning = self._warn(values)
        if warning and not self._warned:  # once, until there was a line without it
            say(f"warning: {warning}")
        self._warned = bool(warning)
        for name, line in self.clock.warnings.items():
            if name not in self._told:  # once in a run: it seldom changes by itself
                say(f"warning: {line}")
            self._told.add(name)

    def scores(self, scores: Mapping[str, float], panel: Path | None, *, step: int) -> None:
        """Writes the scores of an evaluation, and its drawing of words where there is one."""
        if self._writer:
            self._writer.write(scores, step=step)
            if panel:
                self._writer.image("which region each word refers to", panel, step=step)

    def goodput(self) -> float | None:
        """Returns the goodput of the run until now, in the first process."""
        if not self._spent:
            return None
        return self._spent.write(self._done, in_steps=self.clock.in_steps)

    def close(self) -> None:
        """Closes the files."""
        self.goodput()
        if self._writer:
            self._writer.close()
