"""Write a trained model for PyTorch, and prove that it is the same model.

  jaxvl export --workdir runs/mine --format torch --out exports/mine

The folder appears only if PyTorch, loading it, agrees with JAX to 1e-4. Formats:
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from jaxvl import paths
from jaxvl.cli import common
from jaxvl.export import FORMATS


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    options = [name for name in _options() if getattr(flags, name)]
    with common.mistakes_in_one_line():
        _export(flags.workdir, flags.out, flags.format, flags.weights, options)
    print(f"{flags.format}: {flags.out}")


def _export(workdir: str, out: str, name: str, weights: str | None, options: Sequence[str]) -> None:
    from jaxvl.export import run
    from jaxvl.training import experiment

    basis = experiment.open_basis(experiment.load_run(workdir))
    exported, params = run.open_run(
        workdir,
        config=basis.config,
        model=basis.model,
        mesh=basis.mesh,
        tokenizer=basis.tokenizer,
        weights=weights,
    )
    run.export(exported, params, out, name=name, options=options)


def _parser() -> ArgumentParser:
    width = max(map(len, FORMATS))
    lines = [f"  {name:<{width}}  {form.about}" for name, form in FORMATS.items()]
    parser = common.parser(
        "export",
        "\n".join([(__doc__ or "").rstrip(), "", *lines]),
        buckets={"--workdir": paths.WRITTEN},
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of a training run")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--out", required=True, metavar="DIR", help="must not exist, or be empty")
    parser.add_argument(
        "--weights",
        choices=("ema", "online"),
        help="running mean or last step; by default the mean where there is one",
    )
    for name, about in _options().items():
        parser.add_argument(f"--{name}", action="store_true", help=about)
    return parser


def _options() -> dict[str, str]:
    """Returns {flag: help} of the options of all formats."""
    return {
        name: f"with --format {form_name}: {option.about}"
        for form_name, form in FORMATS.items()
        for name, option in form.options.items()
    }
