"""Checkpoints: asynchronous, atomic, restored onto any mesh. The only place that uses Orbax.

WORKDIR/checkpoints/STEP/ holds three items: `params`, `ema` where there is one, and `rest` (step,
optimizer, slots), so that evaluation reads the parameters without the rest. Orbax writes to a
temporary name and renames at the end, so half a checkpoint of a killed run is never restored.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Mesh
from orbax.checkpoint import checkpoint_managers

from jaxvl import sharding
from jaxvl.errors import UserError
from jaxvl.state import TrainState, attach
from jaxvl.types import Model, Params


class Checkpoints:
    """The checkpoints of one working directory."""

    def __init__(
        self, workdir: Path | str, *, keep: int, best_metric: str, read_only: bool = False
    ) -> None:
        """Opens WORKDIR/checkpoints, makes it where needed, and removes half-written checkpoints.

        keep: number of newest checkpoints that stay. best_metric: the checkpoint with the highest
        value of this metric stays too; "" for none. read_only: changes nothing.
        """
        _quieten()
        self._directory = _directory(workdir)
        self._best_metric = best_metric
        options = (
            ocp.CheckpointManagerOptions(read_only=True)
            if read_only
            else _options(keep=keep, best_metric=best_metric)
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def steps(self) -> list[int]:
        """Returns the steps of complete checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, *, step: int, metrics: Mapping[str, float]) -> None:
        """Starts to write the TrainState, and returns before it is written.

        metrics: scores of an evaluation, or {}.
        """
        items = dict(params=state.params, rest=_rest(state))
        if state.ema is not None:
            items["ema"] = state.ema
        best = {name: metrics[name] for name in [self._best_metric] if name in metrics}
        args = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        self._manager.save(step, args=ocp.args.Composite(**args), metrics=best or None, force=True)

    def restore(self, abstract: TrainState, *, step: int) -> TrainState:
        """Returns the TrainState saved at `step`, with the shapes and shardings of `abstract`.

        Raises UserError where the checkpoint cannot be read.
        """
        items = dict(params=abstract.params, rest=_rest(abstract))
        if abstract.ema is not None:
            items["ema"] = abstract.ema
        restored = _restore(self._manager, items, step=step, directory=self._directory)
        return TrainState(
            params=restored["params"],
            ema=restored["ema"] if abstract.ema is not None else None,
            **restored["rest"],
        )

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.close()


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
    step: None for the newest. Raises UserError where the run has no such checkpoint.
    """
    directory = _directory(workdir)
    step = _existing_step(directory, step)
    name = "ema" if use_ema and (directory / str(step) / "ema").exists() else "params"
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    abstract = attach(shapes, sharding.shardings(shapes, model.partition_rules, mesh=mesh))
    _quieten()
    options = ocp.CheckpointManagerOptions(read_only=True)
    with ocp.CheckpointManager(directory, options=options) as manager:
        restored = _restore(manager, {name: abstract}, step=step, directory=directory)
    return restored[name], step


def save_params(workdir: Path | str, params: Params) -> None:
    """Writes WORKDIR/checkpoints/0 with parameters alone: to evaluate, to export, to start from.

    Raises UserError where it cannot be written.
    """
    logging.set_verbosity(logging.FATAL)  # Orbax would log at length the error that is raised here
    items = ocp.args.Composite(params=ocp.args.StandardSave(params))
    try:
        with ocp.CheckpointManager(_directory(workdir)) as manager:
            manager.save(0, args=items)
            manager.wait_until_finished()
    except (OSError, ValueError) as error:  # as the storage below Orbax raises, for a full disk too
        raise UserError(f"{_directory(workdir)} cannot be written: {_first_line(error)}") from error


def _quieten():
    logging.set_verbosity(logging.ERROR)  # Orbax logs, and warns about, ordinary events


def _directory(workdir):
    return Path(workdir).resolve() / "checkpoints"


def _existing_step(directory, step):
    steps = sorted(ocp.utils.checkpoint_steps(directory)) if directory.is_dir() else []
    if not steps:
        raise UserError(f"{directory.parent} has no checkpoint")
    if step is not None and step not in steps:
        raise UserError(f"{directory} has no step {step}, only {', '.join(map(str, steps))}")
    return steps[-1] if step is None else step


def _options(*, keep, best_metric):
    def value(metrics):
        return metrics[best_metric]

    policies: list[checkpoint_managers.PreservationPolicy] = [checkpoint_managers.LatestN(keep)]
    if best_metric:
        policies.append(
            checkpoint_managers.BestN(
                get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False
            )
        )
    return ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
        best_fn=value if best_metric else None,
        cleanup_tmp_directories=True,
    )


def _rest(state):
    return dict(step=state.step, opt_state=state.opt_state, slots=state.slots)


def _restore(manager, items, *, step, directory):
    args = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    try:
        return manager.restore(step, args=ocp.args.Composite(**args))
    except Exception as error:  # Orbax raises bare ones where a file is incomplete
        raise UserError(
            f"checkpoint {directory / str(step)} cannot be read: {_first_line(error)}"
        ) from error


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
