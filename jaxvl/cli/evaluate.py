"""Evaluate a trained model on a split of its data set, on another one, or on a benchmark.

  jaxvl evaluate --workdir runs/demo --split test
  jaxvl evaluate --workdir runs/demo --benchmark sugarcrepe --annotations DIR --images DIR
  jaxvl evaluate --workdir runs/demo --against init

--against shows the change against the checkpoint the run started from (init), a STEP of the run,
another run (its working directory), or figures written before (FILE.json).
"""

import json
import sys
from pathlib import Path

from jaxvl.cli import common
from jaxvl.errors import UserError


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        benchmark = common.benchmark_of(flags)
        evaluate(
            flags.workdir,
            split=flags.split,
            data=flags.data,
            out=flags.out,
            benchmark=benchmark,
            against=flags.against,
        )


def _parser():
    parser = common.parser("evaluate", __doc__)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of a training run")
    parser.add_argument("--split", help="of the data set (the run's eval.split)")
    parser.add_argument(
        "--data", metavar="DIR", help="another prepared data set (the one it was trained on)"
    )
    common.add_benchmark(parser)
    parser.add_argument("--against", metavar="WHAT", help="init, STEP, DIR or FILE.json")
    parser.add_argument("--out", metavar="FILE", help="JSON (WORKDIR/eval_SPLIT or _NAME.json)")
    return parser


def evaluate(workdir, *, split, data, out, benchmark=None, against=None):
    """Evaluates the newest checkpoint; prints a table and writes JSON. Returns the scores.

    split, data, out: None for what the run has and for WORKDIR/eval_SPLIT.json. benchmark: (name,
    keys) to run beside retrieval, instead of the run's evaluators. against: as --against says.
    Tables and plots of false matches go to the folder OUT_false_match.
    Raises UserError for what is not there; then nothing is written.
    """
    from jaxvl.evals import false_match, tables
    from jaxvl.files import write_json

    config = common.load_run(workdir, split=split, data=data, benchmark=benchmark)
    out = Path(out or Path(workdir) / f"eval_{(benchmark or [config.eval.split])[0]}.json")
    common.check_file("--out", out)
    run = Run(workdir, config)
    before = scores_before(against, run) if against else None
    findings = {}
    scores, step = run.scores(report=findings.__setitem__)
    print(f"{config.eval.split} of {config.data.dir}, after step {step}\n")
    found = {"step": step, "split": config.eval.split, **scores}
    if before:
        change = tables.change(scores, before)
        print(tables.change_table(scores, before, title=_title(against)))
        found |= {"against": {"what": against, **before}, "change": change}
    else:
        print(tables.table(scores))
    for name, one in findings.items():
        path = false_match.write(one, out.parent / f"{out.stem}_false_match", name)
        print(f"\nfalse matches of {name}: {path}", end="")
    write_json(out, found)
    print(f"\nscores as JSON: {out}")
    return scores


class Run:
    """A run's model and evaluators, and the scores of any parameters of that model."""

    def __init__(self, workdir, config):
        """Opens the run; without its data set only benchmarks are left, and a line says so."""
        from jaxvl import evals
        from jaxvl.training import experiment

        self.workdir, self.config = workdir, config
        self.basis = experiment.open_basis(config)
        try:
            source = experiment.open_held_out(self.basis)
        except UserError as error:
            if all(config.evals[name] is None for name in evals.BENCHMARKS):
                raise
            print(f"only the benchmark is run: {error}", file=sys.stderr)
            source = None
        self._evaluators = evals.make_evaluators(
            self.basis.config,
            model=self.basis.model,
            source=source,
            tokenizer=self.basis.tokenizer,
            mesh=self.basis.mesh,
        )

    def scores(self, *, step=None, report=None):
        """Returns (scores, step) of a checkpoint, by default the newest."""
        from jaxvl import checkpoint

        params, step = checkpoint.restore_params(
            self.workdir, model=self.basis.model, mesh=self.basis.mesh, step=step
        )
        return self.scores_of(params, report=report), step

    def scores_of(self, params, *, report=None):
        """Returns the scores of parameters. report: see evals.run_all."""
        from jaxvl import evals

        return evals.run_all(self._evaluators, params, progress=True, report=report)


def scores_before(against, run):
    """Returns the scores to compare with: of init, a STEP, another run's DIR, or a FILE.json."""
    from jaxvl.training import experiment

    if against.isdigit():
        return run.scores(step=int(against))[0]
    if against == "init":
        if not run.config.model.init:
            raise UserError(f"--against init: {run.workdir} started from random weights")
        return run.scores_of(experiment.load_init(run.basis, directory=None))
    if Path(against).is_dir():
        return Run(against, _as_evaluated(common.load_run(against), run.config)).scores()[0]
    try:
        stored = json.loads(Path(against).read_text())
        numbers = {name: value for name, value in stored.items() if "/" in name}
    except (OSError, ValueError, AttributeError):
        raise UserError(
            f"--against {against} is neither init, a step, a run's working directory nor JSON "
            "written by this command"
        ) from None
    return numbers


def _title(against):
    return f"step {against}" if against.isdigit() else Path(against).name


def _as_evaluated(config, as_this):
    """Returns a run's configuration with the evaluation and the data set of another run's."""
    config = config.copy_and_resolve_references().unlock()
    common.use_data(config, as_this.data.dir)
    config.data.update(source=as_this.data.source, name=as_this.data.name)
    config.eval, config.evals = as_this.eval, as_this.evals
    return config.lock()
