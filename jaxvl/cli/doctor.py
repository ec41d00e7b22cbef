"""Check a machine, or all hosts of a pod, before a run is paid for.

  jaxvl doctor --workdir runs/mine --data data/scenes
  jaxvl doctor --config=coco_softmask --workdir gs://bucket/runs/mine --distributed

Looks at the devices that each process sees, at the versions of code and libraries, adds up an array
over all devices, reads the data set, writes and reads the working directory, and looks for free
space; with --config also whether the experiment fits these devices. One line a check, and what to
do where it fails. Started as the run will be: with several processes, each with the same command.

Exit code: 0 where all checks pass, 1 where one fails, 2 where the command cannot be used.
"""

import sys
from collections.abc import Sequence

from jaxvl.cli import common, train
from jaxvl.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 1 where a check fails."""
    flags, changes = common.parse(_parser(), arguments)
    with common.mistakes_in_one_line():
        if changes and not flags.config:
            raise UserError(f"{changes[0]} changes a key of an experiment; name it with --config")
        config = train.read_config(flags.config, changes) if flags.config else None
        common.connect(flags)
        from jaxvl.doctor import check, checks
        from jaxvl.training import peers

        with peers.watched():
            good = check.make_all(checks.of(config, flags.data, flags.workdir))
    sys.exit(0 if good else 1)


def _parser():
    parser = common.parser("doctor", __doc__)
    parser.add_argument("--workdir", metavar="DIR", help="where the run will live")
    parser.add_argument("--data", metavar="DIR", help="the prepared data set")
    parser.add_argument("--config", metavar="NAME[:ARG]", help="the experiment, as of jaxvl train")
    common.add_processes(parser)
    return parser
