"""Train an experiment, or continue its run where it stopped.

  jaxvl train --config=coco_softmask:demo --config.data.dir=data/scenes
  jaxvl train --config=my_experiment.py --config.batch_size=32 --workdir=runs/mine

--config names an experiment: one that comes with jaxvl, or a Python file whose get_config() returns
the configuration. What stands behind a colon is passed to get_config. --config.KEY=VALUE changes a
key, and can be given several times.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvl import paths
from jaxvl.cli import common, shipped
from jaxvl.errors import UserError
from jaxvl.training import exits

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits with a code of jaxvl.training.exits."""
    flags, changes = common.parse(_parser(), arguments)
    with common.mistakes_in_one_line():
        config = None if flags.replay else read_config(flags.config, changes)
        common.connect(flags)
        from jaxvl.training import loop, nonfinite

        if config is None:
            sys.exit(exits.FINISHED if nonfinite.replay(flags.replay) else exits.FAILED)
        sys.exit(loop.train(config, flags.workdir or default_workdir(flags.config)))


def _parser():
    parser = common.parser(
        "train",
        f"{__doc__}\n{exits.HELP}",
        buckets={"--workdir": paths.WRITTEN, "--replay": paths.WRITTEN},
    )
    there = ", ".join(shipped.names(shipped.EXPERIMENTS))
    parser.add_argument(
        "--config", metavar="NAME[:ARG]", help=f"the experiment: FILE.py, or one of {there}"
    )
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="where the run lives and continues (default: runs/NAME[_ARG])",
    )
    parser.add_argument(
        "--replay",
        metavar="BUNDLE",
        help="do not train; repeat the steps that led to a NaN or Inf",
    )
    common.add_processes(parser)
    return parser


def read_config(name: str | None, changes: Sequence[str]) -> "ConfigDict":
    """Returns the configuration of an experiment, NAME_OR_FILE[:ARG], with changes of its keys.

    Raises UserError where there is no such experiment, where its file raises anything, and for a
    change that does not fit.
    """
    from ml_collections import ConfigDict

    from jaxvl.cli import overrides

    if name is None:
        raise UserError("--config is missing: --config=NAME or --config=FILE.py (or --replay)")
    file, _, argument = name.partition(":")
    path = shipped.find("--config", file, shipped.EXPERIMENTS)
    module = shipped.load("--config", path)
    with shipped.errors_named(f"--config={name}"):
        config = module.get_config(argument) if argument else module.get_config()
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={name}: get_config() does not return a ConfigDict")
    overrides.apply(config, changes)
    return config.lock()


def default_workdir(name: str) -> Path:
    """Returns the working directory of an experiment, NAME_OR_FILE[:ARG]: runs/NAME[_ARG]."""
    file, _, argument = name.partition(":")
    return Path("runs") / "_".join(filter(None, [Path(file).stem, argument]))
