"""Get what the published experiments need: the only command that uses the network.

  jaxvl fetch coco --out data/coco
  jaxvl fetch weights bert-base-uncased

Downloads show their progress, continue where they stopped, and are checked by their digests; the
disk space is checked first. COCO is 20 GB to download, and 20 GB to store; its splits are those of
Karpathy & Li: train, restval, val, test.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxvl.cli import common
from jaxvl.fetch.weights import NAMES


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    interrupted = "interrupted; the same command continues"
    with common.mistakes_in_one_line(interrupted=interrupted):
        if flags.what == "coco":
            from jaxvl.fetch import coco

            print(coco.fetch(flags.out))
        else:
            from jaxvl.fetch import weights

            print(weights.fetch(flags.name, flags.out or Path("data") / flags.name))


def _parser():
    parser = common.parser("fetch", __doc__)
    parsers = parser.add_subparsers(dest="what", required=True)
    coco = parsers.add_parser("coco", help="COCO captions of 2014 as a data set")
    coco.add_argument("--out", required=True, metavar="DIR", help="must not exist, or be empty")
    weights = parsers.add_parser("weights", help="weights of the Hugging Face hub")
    weights.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    weights.add_argument("--out", metavar="DIR", help="(default: data/NAME)")
    return parser
