"""Checkpoints: asynchronous, atomic, restored onto any mesh. The only place that uses Orbax.

WORKDIR/checkpoints/STEP/ holds three items: `params`, `ema` where there is one, and `rest` (step,
optimizer, slots), so that evaluation reads the parameters without the rest. Orbax writes to a
temporary name and renames at the end, so half a checkpoint of a killed run is never restored; in a
bucket, which cannot rename, a checkpoint is one as soon, and as long, as it has digests.json.
`digests.json` has the SHA-256 of each item, which is compared before it is restored; `metrics` has
the scores of the evaluation after this step, where there was one.
"""

import json
import logging as python_logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxvl import files, paths, sharding
from jaxvl.errors import UserError
from jaxvl.state import TrainState, attach
from jaxvl.types import Model, Params

DIGESTS, SCORES = "digests.json", "metrics/metrics"  # in the folder of a step
TEMPORARY = ".orbax-checkpoint-tmp"  # in the name of what is being written, or removed
DAMAGED = "damaged_checkpoints"  # beside checkpoints/


class Checkpoints:
    """The checkpoints of one working directory."""

    def __init__(
        self, workdir: Path | str, *, keep: int, best_metric: str, read_only: bool = False
    ) -> None:
        """Opens WORKDIR/checkpoints, makes it where needed, and removes half-written checkpoints.

        keep: number of newest checkpoints that stay. best_metric: the checkpoint with the highest
        value of this metric stays too; "" for none. read_only: changes nothing.
        Raises UserError where the folder cannot be made.
        """
        self.directory = _directory(workdir)  # WORKDIR/checkpoints
        self._keep, self._best_metric, self._read_only = keep, best_metric, read_only
        if not read_only:
            _drop_late_errors()
        if not read_only and _is_chief():
            files.make_folder(self.directory)
            for path in _incomplete(self.directory):
                paths.remove(path)
        self._writing: int | None = None
        self._orbax = _orbax(self._written)

    def steps(self) -> list[int]:
        """Returns the steps of complete checkpoints, ascending."""
        return _steps(self.directory)

    def save(self, state: TrainState, *, step: int) -> None:
        """Starts to write the TrainState, and returns before it is written.

        Raises UserError where this one, or the one before, cannot be written.
        """
        items = dict(params=state.params, rest=_rest(state))
        if state.ema is not None:
            items["ema"] = state.ema
        args = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        with self._storage_named():
            self._finish()
            self._writing = step
            self._orbax.save(self.directory / str(step), args=ocp.args.Composite(**args))

    def check(self) -> None:
        """Ends the checkpoints that need not stay; does not wait.

        Raises UserError where the newest could not be written.
        """
        with self._storage_named():
            self._orbax.check_for_errors()
            if self._writing in self.steps():
                self._prune()
                self._writing = None

    def add_scores(self, step: int, scores: Mapping[str, float]) -> None:
        """Stores the scores of the evaluation after a saved step, once it is written."""
        with self._storage_named():
            self._finish()
            if _is_chief():
                path = self.directory / str(step) / SCORES
                files.make_folder(path.parent)
                files.write_json(path, dict(scores))
            self._prune()

    def scores(self, step: int) -> dict[str, float] | None:
        """Returns the scores of a step; None where it was not evaluated."""
        try:
            return json.loads((self.directory / str(step) / SCORES).read_text())
        except (OSError, ValueError):  # damaged ones are as good as none: it is evaluated again
            return None

    def restore(self, abstract: TrainState, *, step: int) -> TrainState:
        """Returns the TrainState saved at `step`, with the shapes and shardings of `abstract`.

        Raises UserError where the checkpoint cannot be read.
        """
        items = dict(params=abstract.params, rest=_rest(abstract))
        if abstract.ema is not None:
            items["ema"] = abstract.ema
        restored = _restore(self._orbax, items, step=step, directory=self.directory)
        return TrainState(
            params=restored["params"],
            ema=restored["ema"] if abstract.ema is not None else None,
            **restored["rest"],
        )

    def set_aside(self, step: int) -> Path:
        """Moves a damaged checkpoint to WORKDIR/damaged_checkpoints and returns its new path.

        There it neither counts as one of those to keep nor stands in the way of the same step.
        """
        target = self.directory.parent / DAMAGED / str(step)
        if _is_chief():
            files.make_folder(target.parent)
            paths.remove(target)
            with self._storage_named():
                paths.move(self.directory / str(step), target)
        return target

    def close(self) -> None:
        """Waits until everything is written. Raises UserError where it cannot be."""
        with self._storage_named():
            self._finish()
        self._orbax.close()

    def _finish(self):
        self._orbax.wait_until_finished()
        self._prune()
        self._writing = None

    def _written(self):
        """Called in Orbax's thread when everything is written and nothing has its name yet."""
        if _is_chief():
            _write_digests(_being_written(self.directory, self._writing))

    def _prune(self):
        """Removes what is neither among the newest nor the best."""
        if self._read_only or not _is_chief():
            return
        steps = self.steps()
        values = {step: (self.scores(step) or {}).get(self._best_metric) for step in steps}
        known = {step: value for step, value in values.items() if isinstance(value, int | float)}
        best = [max(known, key=lambda step: known[step])] if known else []
        kept = {*steps[-self._keep :], *best}
        for step in steps:
            if step not in kept:
                _remove(self.directory / str(step))

    def _storage_named(self):
        def then():
            saved = f"saved: step {self.steps()[-1]}" if self.steps() else "nothing is saved yet"
            return f"{saved}; make room or choose another place, and give the same command again"

        return files.storage_named(self.directory, then)


def checkpoint_steps(workdir: Path | str) -> list[int]:
    """Returns the steps of the complete checkpoints of a run, ascending."""
    return _steps(_directory(workdir))


def restore_params(
    workdir: Path | str,
    *,
    model: Model,
    mesh: Mesh,
    use_ema: bool = True,
    step: int | None = None,
) -> tuple[Params, int]:
    """Returns (params, step) of a run, for evaluation, explanation and export.

    model: of the run's configuration. use_ema: the running mean where there is one.
    step: None for the newest that is not damaged; a line on stderr names those that are. Raises
    UserError where the run has no such checkpoint, or a damaged one.
    """
    directory = _directory(workdir)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    abstract = attach(shapes, sharding.shardings(shapes, model.partition_rules, mesh=mesh))
    orbax = _orbax()

    def read(step):
        name = "ema" if use_ema and (directory / str(step) / "ema").exists() else "params"
        return _restore(orbax, {name: abstract}, step=step, directory=directory)[name]

    if step is not None:
        _check_exists(directory, step)
        return first_whole([step], read, directory=directory)
    return first_whole(_steps(directory), read, directory=directory)


def first_whole(
    steps: Sequence[int],
    read: Callable[[int], Any],
    *,
    directory: Path,
    set_aside: Callable[[int], Path] | None = None,
) -> tuple[Any, int]:
    """Returns (read(step), step) of the last of the steps for which it raises no UserError.

    A line on stderr names each that is damaged, and what to delete. set_aside: moves a damaged one
    away and returns its new place. Raises UserError where all are damaged, or there are none.
    """
    if not steps:
        raise UserError(f"{directory.parent} has no checkpoint")
    damaged = []
    for step in reversed(steps):
        try:
            found = read(step)
        except UserError as error:
            damaged.append((step, error))
            continue
        for bad, error in damaged:
            place = set_aside(bad) if set_aside else directory / str(bad)
            moved = f"it now lies in {place}; " if set_aside else ""
            line = (
                f"warning: {error}; step {step} is used; {moved}delete it: {paths.removal(place)}"
            )
            print(line, file=sys.stderr, flush=True) if _is_chief() else None
        return found, step
    raise UserError(f"{damaged[0][1]}; delete it: {paths.removal(directory / str(steps[-1]))}")


def save_params(workdir: Path | str, params: Params) -> None:
    """Writes WORKDIR/checkpoints/0 with parameters alone: to evaluate, to export, to start from.

    Raises UserError where it cannot be written.
    """
    directory, orbax = _directory(workdir), _orbax()
    folder = directory / "0"
    try:
        files.make_folder(directory)
        orbax.save(folder, args=ocp.args.Composite(params=ocp.args.StandardSave(params)))
        orbax.wait_until_finished()
        orbax.close()
    except (OSError, ValueError) as error:  # as the storage below Orbax raises, for a full disk too
        raise UserError(f"{directory} cannot be written: {_first_line(error)}") from error
    _write_digests(folder)


def _orbax(written=None):
    logging.set_verbosity(logging.FATAL)  # Orbax logs events, and at length what is raised anyway
    options = ocp.options.AsyncOptions(post_finalization_callback=written)
    return ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(), async_options=options)


def _reader_of_bucket():
    """Returns an Orbax that reads what was copied to a bucket too, without Orbax's own mark."""
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(),
        temporary_path_class=ocp.path.atomicity.AtomicRenameTemporaryPath,
    )


def _drop_late_errors():
    """Keeps quiet what the writes of a checkpoint say that come to an end after it has failed."""
    before = sys.unraisablehook

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    if before.__module__ != __name__:
        sys.unraisablehook = hook
        python_logging.getLogger("asyncio").addFilter(
            lambda record: (
                "async_serialize" not in record.getMessage() and "OCDBT" not in record.getMessage()
            )
        )


def _is_chief():
    return jax.process_index() == 0


def _directory(workdir):
    paths.check("--workdir", workdir, schemes=paths.WRITTEN)
    return paths.absolute(workdir) / "checkpoints"


def _steps(directory):
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if _is_complete(path))


def _is_complete(path):
    if not path.name.isdigit():
        return False
    return (path / DIGESTS).exists() if paths.scheme_of(path) else path.is_dir()


def _incomplete(directory):
    """Returns what killed runs have left: half-written and half-removed checkpoints."""
    if not paths.scheme_of(directory):
        return directory.glob(f"*{TEMPORARY}*")
    if not directory.is_dir():
        return []
    return [path for path in directory.iterdir() if not _is_complete(path)]


def _being_written(directory, step):
    """Returns the folder of a checkpoint that nobody may read yet."""
    if paths.scheme_of(directory):
        return directory / str(step)
    (folder,) = directory.glob(f"{step}{TEMPORARY}*")
    return folder


def _remove(folder):
    """Removes a checkpoint so that it never looks like a complete one."""
    if paths.scheme_of(folder):
        (folder / DIGESTS).unlink()
    else:
        folder = folder.rename(folder.with_name(f"{folder.name}{TEMPORARY}-removed"))
    paths.remove(folder)


def _check_exists(directory, step):
    steps = _steps(directory)
    if not steps:
        raise UserError(f"{directory.parent} has no checkpoint")
    if step not in steps:
        raise UserError(f"{directory} has no step {step}, only {', '.join(map(str, steps))}")


def _write_digests(folder):
    items = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files.write_json(folder / DIGESTS, {name: files.digest(folder / name) for name in items})


def _rest(state):
    return dict(step=state.step, opt_state=state.opt_state, slots=state.slots)


def _restore(orbax, items, *, step, directory):
    folder = directory / str(step)
    damage = _damage(folder, items) if _is_chief() else ""
    if jax.process_count() > 1:
        damaged = multihost_utils.broadcast_one_to_all(np.array(bool(damage)))
        damage = damage or ("one of its items is damaged" if damaged else "")
    if damage:
        raise UserError(f"checkpoint {folder} is damaged: {damage}")
    args = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    reader = _reader_of_bucket() if paths.scheme_of(folder) else orbax
    try:
        return reader.restore(folder, args=ocp.args.Composite(**args))
    except Exception as error:  # Orbax raises bare ones where a file is incomplete
        raise UserError(f"checkpoint {folder} cannot be read: {_first_line(error)}") from error


def _damage(folder, items):
    """Returns in words what is damaged of these items of a checkpoint; "" for nothing.

    One of an older version has no digests, nor one of a run that was killed while it computed them.
    """
    missing = [name for name in items if not (folder / name).is_dir()]
    if missing:
        return f"{missing[0]} is missing"
    if not (folder / DIGESTS).exists():
        return ""
    try:
        digests = files.read_json(folder / DIGESTS)
        changed = [name for name in items if files.digest(folder / name) != digests.get(name)]
    except (UserError, OSError) as error:
        return str(error)
    return f"{changed[0]} is not what was saved (its SHA-256 differs)" if changed else ""


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
