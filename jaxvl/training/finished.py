"""Evaluate the checkpoint of a run, and compare it with other weights, another run or a file."""

import sys
from pathlib import Path

from ml_collections import ConfigDict

from jaxvl import checkpoint, evals, paths, preprocessing
from jaxvl.errors import UserError
from jaxvl.training import evaluation, experiment, goodput, record
from jaxvl.training.evaluation import Before, Evaluation, Scores


def evaluate(
    directory: Path | str,
    config: ConfigDict,
    *,
    out: Path | str | None = None,
    against: str | None = None,
    other_data: bool = False,
) -> Scores:
    """Evaluates the newest checkpoint of a run, writes the result file, prints it; returns scores.

    config: the run's, where needed changed by experiment.evaluate_on.
    out: the result file; None for results.json, which a drawing of words goes with.
    against: "init" (the weights that the run started from), a step of the run, another run's
    working directory, or a result file. other_data: it may be another data set than the run's.
    Raises UserError for what is not there; then nothing is written.
    """
    directory = paths.of(directory)
    opened = open_evaluation(
        experiment.open_basis(config), directory=None if other_data else directory
    )
    before = Before(against, scores_of(against, opened, directory)) if against else None
    params, step = _restore(directory, opened)
    preprocessing.warn_of_another(directory, config)
    own = directory / evaluation.RESULTS
    path = paths.of(out or own)
    scores = evaluation.write_results(
        opened,
        params,
        path,
        step=step,
        before=before,
        goodput=lambda: goodput.of(directory) if path == own else None,
    )
    if path == own:
        opened.draw_panel(params, evaluation.panel_path(directory, step))
    evaluation.show(path)
    return scores


def open_evaluation(basis: experiment.Basis, *, directory: Path | None = None) -> Evaluation:
    """Returns the Evaluation of a run; where its data set is gone, of the benchmarks alone.

    A line on stderr then says so. directory: of the run, whose own data set it must be; None for
    any. Raises UserError where nothing is left to evaluate.
    """
    try:
        source = experiment.open_held_out(basis)
        if directory is not None:
            record.check_held_out(directory, source)
    except UserError as error:
        if all(basis.config.evals[name] is None for name in evals.benchmarks()):
            if directory is None or "--config.data.dir" in str(error):
                raise
            raise UserError(f"{error}; where it was moved: --config.data.dir=DIR") from None
        if evaluation.is_chief():
            print(f"only the benchmark is evaluated: {error}", file=sys.stderr)
        source = None
    return Evaluation(basis, source=source)


def scores_of(against: str, opened: Evaluation, directory: Path) -> Scores:
    """Returns the scores to compare with. against: as in `evaluate`; directory: the run's.

    Raises UserError where there is nothing of that name.
    """
    if against.isdigit():
        params, _ = _restore(directory, opened, step=int(against))
        return opened.scores(params)
    if against == "init":
        if not opened.basis.config.model.init:
            raise UserError(f"--against init: {directory} started from random weights")
        return opened.scores(experiment.load_init(opened.basis, directory=None))
    if paths.of(against).is_dir():
        config = _as_evaluated(experiment.load_run(against), opened.basis.config)
        other = open_evaluation(experiment.open_basis(config))
        return other.scores(_restore(against, other)[0])
    try:
        return evaluation.read_results(paths.of(against))[1]
    except UserError:
        raise UserError(
            f"--against {against} is not init, a step, a run's working directory or a result file"
        ) from None


def _restore(directory, opened, *, step=None):
    basis = opened.basis
    return checkpoint.restore_params(directory, model=basis.model, mesh=basis.mesh, step=step)


def _as_evaluated(config, as_this):
    """Returns a run's configuration with the evaluation and the data set of another run's."""
    config = config.copy_and_resolve_references().unlock()
    experiment.use_data(config, as_this.data.dir)
    config.data.update(source=as_this.data.source, name=as_this.data.name)
    config.eval, config.evals = as_this.eval, as_this.evals
    return config.lock()
