"""Read weights of another project into a working directory, to start from and to evaluate.

  jaxvl convert --from clip-vit-base-patch32 --out runs/clip
  jaxvl convert --from ALBEF.pth --out runs/albef --set data.tokenizer=bert-base-uncased
  jaxvl convert --from open_clip.bin --out runs/open_clip --set model.activation=gelu

Sizes, activation, tokenizer and resolution are read from the file. Several paths (a ViT and a BERT)
become one ALBEF; parameters that they lack are drawn where model.allow_missing names them.
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvl import paths
from jaxvl.cli import common
from jaxvl.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        _convert(flags.source, flags.out, dict(map(_change, flags.set)))


def _convert(paths: Sequence[str], out: str, changes: Mapping[str, Any]) -> None:
    from jaxvl.interop import convert
    from jaxvl.training import experiment

    basis = experiment.open_basis(convert.configuration(paths, changes))
    convert.convert(
        basis.config, out, model=basis.model, mesh=basis.mesh, tokenizer=basis.tokenizer
    )
    print(f"{out}: start from it with --config.model.init={Path(out)}")


def _parser():
    parser = common.parser("convert", __doc__, buckets={"--from": paths.READ})
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        nargs="+",
        metavar="PATH",
        help="folder or file of weights, or a jaxvl run; a ViT and a BERT for an ALBEF",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="new working directory")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of the configuration that the file does not contain; can be repeated",
    )
    return parser


def _change(text: str) -> tuple[str, Any]:
    key, found, value = text.partition("=")
    if not found:
        raise UserError(f"--set {text}: not KEY=VALUE")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
