"""Train and evaluate every row of a table of experiments, with several seeds each.

  jaxvl sweep --table ahnpl
  jaxvl sweep --table my_table.py --jobs 2 -- --config.data.dir=/data/scenes

Each run has a working directory of its own under --out. Runs that are done are skipped, and a run
that was interrupted continues, so the same command continues a table. --out has table.md, which is
written again after every run: mean and standard deviation in percent. With --jobs several runs are
made at a time, each on its share of the cores. Flags after -- go to every `jaxvl train`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxvl.cli import common, shipped
from jaxvl.training import sweep


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    given, extra = _split(sys.argv[1:] if arguments is None else list(arguments))
    flags = _parser().parse_args(given)
    sweep.end_at_sigterm()
    with common.mistakes_in_one_line():
        table = load_table(flags.table)
        out = Path(flags.out or Path("runs") / Path(flags.table).stem)
        sweep.sweep(table, out, extra=extra, jobs=flags.jobs)


def _parser():
    parser = common.parser("sweep", __doc__)
    there = ", ".join(shipped.names(shipped.TABLES))
    parser.add_argument(
        "--table", required=True, metavar="NAME", help=f"FILE.py with get_table(), or {there}"
    )
    parser.add_argument("--out", metavar="DIR", help="for runs and table.md (runs/NAME)")
    parser.add_argument(
        "--jobs", type=common.count, default=1, metavar="N", help="runs at a time (1)"
    )
    return parser


def _split(given):
    place = given.index("--") if "--" in given else len(given)
    return given[:place], given[place + 1 :]


def load_table(name: str) -> sweep.Table:
    """Returns the Table of a file, or of that name. Raises UserError where it cannot be used."""
    path = shipped.find("--table", name, shipped.TABLES)
    module = shipped.load("--table", path)
    with shipped.errors_named(f"--table={name}"):
        table = module.get_table()
        sweep.check(table)
    return table
