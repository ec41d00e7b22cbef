"""Checkpoints: asynchronous, atomic, restored onto any mesh. The only place that knows Orbax.

WORKDIR/checkpoints/STEP/ holds three items: `params`, `ema` where there is one, and `rest` (step,
optimizer, slots), so that evaluation reads the parameters without the rest. Orbax writes to a
temporary name and renames at the end; what a killed run left behind is never restored.
"""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from jaxvl import sharding
from jaxvl.errors import UserError
from jaxvl.state import TrainState, attach


class Checkpoints:
    """The checkpoints of one working directory."""

    def __init__(self, workdir, *, keep, best_metric, read_only=False):
        """Opens WORKDIR/checkpoints, creating it, and removes what a killed run left half-written.

        keep: how many of the newest stay. best_metric: the one with the highest value of this
        metric stays too; "" for none. read_only: touch nothing.
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

    def steps(self):
        """Returns the steps of complete checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state, *, step, metrics):
        """Starts writing the TrainState and returns; metrics: of an evaluation, or {}."""
        items = dict(params=state.params, rest=_rest(state))
        if state.ema is not None:
            items["ema"] = state.ema
        best = {name: metrics[name] for name in [self._best_metric] if name in metrics}
        args = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        self._manager.save(step, args=ocp.args.Composite(**args), metrics=best or None, force=True)

    def restore(self, abstract, *, step):
        """Returns the TrainState saved at `step`, laid out as `abstract` says."""
        items = dict(params=abstract.params, rest=_rest(abstract))
        if abstract.ema is not None:
            items["ema"] = abstract.ema
        restored = _restore(self._manager, items, step=step, directory=self._directory)
        return TrainState(
            params=restored["params"],
            ema=restored["ema"] if abstract.ema is not None else None,
            **restored["rest"],
        )

    def close(self):
        """Waits until everything is written."""
        self._manager.close()


def restore_params(workdir, *, model, mesh, use_ema=True, step=None):
    """Reads the parameters of a run, for evaluation, explanation and export.

    model: types.Model of the run's configuration. use_ema: the running mean where there is one.
    step: None for the newest. Returns (params, step).
    Raises UserError where the run has no such checkpoint.
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


def save_params(workdir, params):
    """Writes WORKDIR/checkpoints/0 with parameters alone: to evaluate, to export, to start from.

    Raises UserError where it cannot be written.
    """
    logging.set_verbosity(logging.FATAL)  # Orbax would tell what is raised anyway, and at length
    items = ocp.args.Composite(params=ocp.args.StandardSave(params))
    try:
        with ocp.CheckpointManager(_directory(workdir)) as manager:
            manager.save(0, args=items)
            manager.wait_until_finished()
    except (OSError, ValueError) as error:  # what the storage below Orbax raises, a full disk too
        raise UserError(f"{_directory(workdir)} cannot be written: {_first_line(error)}") from error


def _quieten():
    logging.set_verbosity(logging.ERROR)  # Orbax reports, and warns of, everything that is normal


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
    policies = [checkpoint_managers.LatestN(keep)]
    get_best = None
    if best_metric:

        def get_best(metrics):
            return metrics[best_metric]

        policies.append(
            checkpoint_managers.BestN(
                get_metric_fn=get_best, n=1, keep_checkpoints_without_metrics=False
            )
        )
    return ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
        best_fn=get_best,
        cleanup_tmp_directories=True,
    )


def _rest(state):
    return dict(step=state.step, opt_state=state.opt_state, slots=state.slots)


def _restore(manager, items, *, step, directory):
    args = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    try:
        return manager.restore(step, args=ocp.args.Composite(**args))
    except Exception as error:  # Orbax raises bare ones where a file is not whole
        raise UserError(
            f"checkpoint {directory / str(step)} cannot be read: {_first_line(error)}"
        ) from error


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
