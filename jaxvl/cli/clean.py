"""Look for what is wrong with a data set, before anything is trained on it.

  jaxvl clean --data data/mine
  jaxvl clean --data data/mine --workdir runs/mine
  jaxvl clean --images photos --captions photos/metadata.jsonl --apply

It writes a page for the browser and a JSON file, and changes nothing else. With --apply it also
writes a list of what to leave out, which `jaxvl prepare folder --exclude` takes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxvl.cli import common
from jaxvl.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line(interrupted="interrupted: nothing was written"):
        print(_clean(flags))


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("clean", __doc__)
    parser.add_argument("--data", metavar="DIR", help="a prepared data set")
    parser.add_argument("--images", metavar="DIR", help="as `jaxvl prepare folder` takes it")
    parser.add_argument("--captions", metavar="FILE", help="as `jaxvl prepare folder` takes it")
    parser.add_argument(
        "--workdir",
        metavar="RUN",
        help="a run, or converted weights: also find captions that do not fit their image",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the report goes (beside the data: its name with .clean behind it)",
    )
    parser.add_argument(
        "--apply", action="store_true", help="write the list of exclusions, exclusions.jsonl"
    )
    common.add_workers(parser)
    return parser


def _clean(flags: argparse.Namespace) -> str:
    if bool(flags.data) == bool(flags.captions):
        raise UserError("give --data DIR, or --captions FILE with --images DIR: what to look at")
    if flags.data and flags.images:
        raise UserError("--images belongs to --captions, not to --data")
    from jaxvl.clean import look, records

    out = flags.out or _beside(flags.data or flags.images or flags.captions)
    look.check_out(out, apply=flags.apply)
    if flags.data:
        found = look.look(
            records.open_prepared(flags.data), workdir=flags.workdir, workers=flags.workers
        )
    else:
        with records.open_folder(flags.images, flags.captions, room=out) as data:
            found = look.look(data, workdir=flags.workdir, workers=flags.workers)
    look.write(found, out, apply=flags.apply)
    return look.summary(found, out, apply=flags.apply)


def _beside(given: str) -> Path:
    """Returns the folder beside what was given; beside its folder for a pattern of names."""
    path = Path(given) if Path(given).exists() else Path(given).parent
    path = path if path.name not in ("", "..") else path.resolve()
    return path.with_name(f"{path.name}.clean")
