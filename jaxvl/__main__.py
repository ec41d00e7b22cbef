"""`jaxvl COMMAND ...`, the same as `python -m jaxvl COMMAND ...`."""

import importlib
import sys
from collections.abc import Sequence

from jaxvl.cli import COMMANDS, common
from jaxvl.keys import nearest
from jaxvl.training import host


def main() -> None:
    """Runs the command that the first argument names. Exits 2 where it is not a command."""
    name, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if name in ("-h", "--help"):
        print(_help())
    elif name in COMMANDS:
        run(name, arguments)
    else:
        near = nearest(name, COMMANDS)
        common.refuse(f"there is no command {name}, only {', '.join(COMMANDS)}{near}")


def run(name: str, arguments: Sequence[str]) -> None:
    """Runs a command of COMMANDS; for training this program first starts again with huge pages."""
    if name == "train":
        host.use_huge_pages()
    importlib.import_module(f"jaxvl.cli.{name}").main(arguments)


def _help():
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()]
    return "\n".join(
        ["usage: jaxvl COMMAND ...", "", *lines, "", "jaxvl COMMAND --help says what it takes."]
    )


if __name__ == "__main__":
    main()
