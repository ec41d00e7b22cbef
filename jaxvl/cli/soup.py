"""Mix the weights of two runs, and show what each mixture costs: retrieval against composition.

  jaxvl soup --a runs/start --b runs/tuned --alphas 0:1:0.1 --out runs/soup

Tuning on hard negatives can cost zero-shot retrieval. Between the two checkpoints often lies one
that keeps most of both. Weights are (1 - alpha) A + alpha B (Wortsman et al., CVPR 2022).
"""

from collections.abc import Sequence

from jaxvl import paths
from jaxvl.cli import common
from jaxvl.errors import UserError

MOST = 101  # alphas


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        alphas, benchmark = parse_alphas(flags.alphas), common.benchmark_of(flags)
        from jaxvl.training import experiment, soup

        config = experiment.load_run(flags.a)
        experiment.evaluate_on(config, split=flags.split, data=flags.data, benchmark=benchmark)
        other_data = bool(flags.data)
        soup.soup(flags.a, flags.b, config, alphas=alphas, out=flags.out, other_data=other_data)


def _parser():
    parser = common.parser(
        "soup",
        __doc__,
        buckets={"--a": paths.WRITTEN, "--b": paths.WRITTEN, **common.EVALUATED_ON},
    )
    parser.add_argument("--a", required=True, metavar="DIR", help="the working directory of a run")
    parser.add_argument(
        "--b", required=True, metavar="DIR", help="that of another run, of the same model"
    )
    parser.add_argument(
        "--alphas", default="0:1:0.1", metavar="FIRST:LAST:STEP", help="mixtures (default: 0:1:0.1)"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder of soup.json, soup.md and soup.png"
    )
    common.add_evaluation(parser, run="run A")
    return parser


def parse_alphas(text: str) -> list[float]:
    """Returns the alphas of "FIRST:LAST:STEP", both ends included. Raises UserError."""
    try:
        first, last, step = map(float, text.split(":"))
        count = round((last - first) / step) + 1
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UserError(f"--alphas {text}: should be FIRST:LAST:STEP, such as 0:1:0.1") from None
    alphas = [round(first + k * step, 10) for k in range(max(0, min(count, MOST + 1)))]
    if not alphas or len(alphas) > MOST or alphas[0] < 0 or alphas[-1] > 1:
        raise UserError(f"--alphas {text}: should give 1 to {MOST} numbers from 0 to 1")
    return alphas
