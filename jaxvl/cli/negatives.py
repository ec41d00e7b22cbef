"""Write hard negatives of every caption of a data set: each has one change that makes it false.

  jaxvl negatives --data data/mine --out data/mine_negatives
  jaxvl negatives --data data/mine --out data/mine_negatives --explain "A brown dog."

Captions are English or Japanese; others are refused.
Training reads them with --config.data.negatives=data/mine_negatives. If the command was stopped,
give it again to continue.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from jaxvl import paths
from jaxvl.cli import common
from jaxvl.data.negatives import FILLERS, choose_filler, filler_options
from jaxvl.data.negatives.filler import ChosenFiller
from jaxvl.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    resume = "interrupted: give the same command again to continue"
    with common.mistakes_in_one_line(interrupted=resume):
        print(_write(flags) if flags.explain is None else _explain(flags))


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("negatives", __doc__, buckets={"--data": paths.READ})
    parser.add_argument("--data", required=True, metavar="DIR", help="prepared data set")
    parser.add_argument(
        "--name", default="", metavar="BUILDER", help="a TFDS builder; --data is its data_dir then"
    )
    parser.add_argument("--out", metavar="DIR", help="must not exist, or be empty")
    parser.add_argument(
        "--explain",
        metavar="TEXT",
        help="print the negatives of this text and the reasons for them. If --out has negatives "
        "already, also print where the text stands in them, and do not read the data set",
    )
    meanings = "; ".join(f"{name}: {filler.meaning}" for name, filler in FILLERS.items())
    parser.add_argument(
        "--filler",
        choices=tuple(FILLERS),
        default="corpus",
        help=f"the source of new words. {meanings} (corpus)",
    )
    for option, takers in filler_options().items():
        parser.add_argument(
            f"--{option.name}",
            type=type(option.default),
            default=option.default,
            metavar=option.metavar,
            help=f"{option.meaning}, for --filler {' or '.join(takers)}",
        )
    parser.add_argument("--seed", type=int, default=0)
    common.add_workers(parser)
    parser.add_argument(
        "--runner",
        default="",
        help="an Apache Beam runner, such as DirectRunner, that replaces --workers",
    )
    return parser


def _filler_of(flags: argparse.Namespace) -> ChosenFiller:
    return choose_filler(flags.filler, vars(flags), read_language_model=read_language_model)


def read_language_model(folder: str) -> tuple[Any, Any]:
    """Returns (MaskedLm, params) of a Hugging Face folder; JAX is imported only where one is read.

    Raises UserError where the folder holds no BERT or RoBERTa that fills in words.
    """
    from jaxvl.interop.masked_lm import load_masked_lm

    model, params, _ = load_masked_lm(folder, words=True)
    return model, params


def _write(flags: argparse.Namespace) -> str:
    """Writes the negatives; returns a line about them."""
    from jaxvl.data.negatives import captions, run

    if not flags.out:
        raise UserError("--out DIR is missing: where to write the negatives (or give --explain)")
    filler = _filler_of(flags)
    meta = run.write_negatives(
        flags.out,
        data=captions.open_captions(flags.data, flags.name),
        filler=filler,
        seed=flags.seed,
        workers=flags.workers,
        runner=flags.runner,
    )
    if meta is None:
        return f"{flags.out}: already made"
    shares = ", ".join(
        f"{kind} {100 * count / max(1, meta['captions']):.1f} %"
        for kind, count in meta["made"].items()
    )
    return f"wrote negatives of {meta['captions']:,} captions to {flags.out}: {shares}"


def _explain(flags: argparse.Namespace) -> str:
    from jaxvl.data.negatives.explain import explanation_of

    return explanation_of(
        flags.explain,
        directory=flags.data,
        builder=flags.name,
        out=flags.out or "",
        filler=_filler_of(flags),
        seed=flags.seed,
    )
