"""`jaxvl COMMAND ...`, the same as `python -m jaxvl COMMAND ...`."""

import importlib
import sys

from jaxvl.cli import COMMANDS


def main() -> None:
    """Runs the command that the first argument names. Exits 2 where there is none of that name."""
    name, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if name in ("-h", "--help"):
        print(_help())
    elif name in COMMANDS:
        importlib.import_module(f"jaxvl.cli.{name}").main(arguments)
    else:
        there = ", ".join(COMMANDS)
        print(f"jaxvl: {name!r} is not a command; there are: {there}", file=sys.stderr)
        sys.exit(2)


def _help():
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()]
    return "\n".join(
        ["usage: jaxvl COMMAND ...", "", *lines, "", "jaxvl COMMAND --help says what it takes."]
    )


if __name__ == "__main__":
    main()
