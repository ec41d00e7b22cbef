"""Evaluate a run on its own data set, on another one, or on a published benchmark.

  jaxvl evaluate --workdir runs/demo
  jaxvl evaluate --workdir runs/demo --split test
  jaxvl evaluate --workdir runs/demo --benchmark sugarcrepe --annotations DIR --images DIR
  jaxvl evaluate --workdir runs/demo --against init

The scores are printed and written: to results.json in the working directory, or, with --split,
--data or --benchmark, to results_NAME.json. --against also shows the change against the weights
that the run started from (init), a STEP of the run, the working DIR of another run, or a result
FILE. --config.KEY=VALUE changes a key that a run may change, such as eval.max_examples.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxvl import paths
from jaxvl.cli import common


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags, changes = common.parse(_parser(), arguments)
    with common.mistakes_in_one_line():
        benchmark = common.benchmark_of(flags)
        if flags.out:
            common.check_file("--out", flags.out)
        common.connect(flags)
        from jaxvl import workdir
        from jaxvl.cli import overrides
        from jaxvl.training import experiment, finished

        config = experiment.load_run(flags.workdir)
        if changes:
            overrides.apply(config, changes)
            workdir.check_same(config, flags.workdir)
        experiment.evaluate_on(config, split=flags.split, data=flags.data, benchmark=benchmark)
        out = flags.out or result_file(flags)
        finished.evaluate(
            flags.workdir, config, out=out, against=flags.against, other_data=bool(flags.data)
        )


def _parser():
    parser = common.parser(
        "evaluate",
        __doc__,
        buckets={
            "--workdir": paths.WRITTEN,
            "--against": paths.WRITTEN,
            **common.EVALUATED_ON,
        },
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the run")
    common.add_evaluation(parser, run="the run")
    parser.add_argument("--against", metavar="WHAT", help="init, a STEP, a DIR or a FILE")
    parser.add_argument("--out", metavar="FILE", help="the JSON file to write (default: see above)")
    common.add_processes(parser)
    return parser


def result_file(flags: argparse.Namespace) -> Path:
    """Returns where scores go without --out: results.json, or results_NAME.json beside it.

    NAME is what the flags name: the benchmark, the data set, the split.
    """
    given = [flags.benchmark, flags.data and Path(flags.data).name, flags.split]
    name = "_".join(["results", *(part for part in given if part)])
    return paths.of(flags.workdir) / f"{name}.json"
