"""What the command lines share: a parser, errors as one line, flags that several commands take."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from jaxvl import files, paths
from jaxvl.errors import UserError, printable
from jaxvl.keys import nearest
from jaxvl.training import host

PLACES = ("DIR", "FILE", "PATH", "BUNDLE", "WHAT")  # metavars of flags that name files or folders

# Flags of `add_evaluation`
EVALUATED_ON = dict.fromkeys(("--data", "--annotations", "--images"), paths.READ)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, `jaxvl: ...`, that names the flag.

    Flags are not abbreviated.
    """

    def __init__(self, **options) -> None:
        """options: of ArgumentParser. Descriptions are shown as they are."""
        self.buckets: Mapping[str, Sequence[str]] = {}
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def parse_known_args(self, args=None, namespace=None):
        """As of ArgumentParser, but an unknown flag is an error before one that is missing.

        Exits 2 too where a flag names a place that jaxvl cannot use.
        """
        args = sys.argv[1:] if args is None else list(args)
        known = self.flags()
        for argument in args[: args.index("--") if "--" in args else None]:
            flag = argument.partition("=")[0]
            if flag.startswith("--") and flag not in known and not is_override(argument):
                self.error(f"unrecognized arguments: {argument}")
        flags, rest = super().parse_known_args(args, namespace)
        self._check_places(flags)
        return flags, rest

    def _check_places(self, flags):
        for action in self._actions:
            if action.metavar not in PLACES:
                continue
            given = getattr(flags, action.dest, None) or []
            try:
                for place in given if isinstance(given, list) else [given]:
                    flag = action.option_strings[0]
                    paths.check(flag, place, schemes=self.buckets.get(flag, ()))
            except UserError as error:
                refuse(error)

    def error(self, message: str) -> NoReturn:
        """Prints the line to stderr and exits 2."""
        refuse(self._plain(message.removeprefix("argument ")))

    def _plain(self, message):
        """Returns a message of argparse, of Python 3.11 to 3.13, in the words of this program."""
        rules = {
            r"(.+): invalid choice: '?(.*?)'? \(choose from (.*)\)": self._no_choice,
            r"(.+): invalid \w+ value: '(.*)'": "{}={}: this is not a number".format,
            r"(.+): expected .*argument.*": "{} needs a value".format,
            r"(.+): ignored explicit argument .*": "{} takes no value".format,
            r"the following arguments are required: (.*)": _missing,
            r"unrecognized arguments: (.*)": self._unknown,
        }
        for pattern, words in rules.items():
            if found := re.fullmatch(pattern, message, re.DOTALL):
                return words(*found.groups())
        return message

    def _no_choice(self, flag, value, choices):
        choices = choices.replace("'", "")
        given = f"{flag}={value}" if flag.startswith("-") else value
        return f"{given} is not one of {choices}{nearest(value, choices.split(', '))}"

    def _unknown(self, arguments):
        first = arguments.split()[0]
        if not first.startswith("-"):
            return f"{first} belongs to no flag"
        flag = first.partition("=")[0]
        return f"{flag} is not a flag of {self.prog}{nearest(flag, self.flags())}"

    def flags(self) -> list[str]:
        """Returns the names of all flags, those of its subcommands among them."""
        names = []
        for action in self._actions:
            names += action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                names += [name for parser in action.choices.values() for name in parser.flags()]
        return names


def _missing(names):
    *others, last = names.split(", ")
    return f"{', '.join(others)} and {last} are missing" if others else f"{last} is missing"


def parser(
    command: str, description: str | None, *, buckets: Mapping[str, Sequence[str]] = {}
) -> Parser:
    """Returns the Parser of `jaxvl COMMAND`.

    buckets: {flag that may name a place in a bucket: schemes, such as paths.READ}.
    """
    made = Parser(prog=f"jaxvl {command}", description=description)
    made.buckets = buckets
    return made


def parse(parser: Parser, arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Returns (flags, the arguments that change keys of a configuration: --config.KEY=VALUE).

    These are for `overrides.apply`. Exits 2 for another argument that the parser does not know.
    """
    flags, changes = parser.parse_known_args(arguments)
    for before, argument in zip(["", *changes], changes):
        is_value = is_override(before) and "=" not in before
        if not is_override(argument) and not is_value:
            parser.error(f"unrecognized arguments: {argument}")
    return flags, changes


def is_override(argument: str) -> bool:
    """Whether an argument changes a key of the configuration, and is not a flag of the command.

    --noconfig.KEY is the same as --config.KEY=False.
    """
    return argument.startswith(("--config.", "--noconfig."))


def refuse(error: object) -> NoReturn:
    """Prints what the user can put right as one line to stderr and exits 2."""
    print(f"jaxvl: {printable(' '.join(str(error).split()))}", file=sys.stderr, flush=True)
    jax = sys.modules.get("jax")
    if jax and jax.distributed.is_initialized():
        sys.stdout.flush()
        os._exit(2)  # JAX would wait for the other processes, and then print a stack trace
    sys.exit(2)


class _Shown:
    """A stream to the terminal that shows, and does not send, what a terminal would obey."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable(text, keep="\n\r\t"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def mistakes_in_one_line(*, interrupted: str = "interrupted") -> Iterator[None]:
    """Turns a UserError, and what a full disk raises, into one line on stderr and exit code 2.

    What the block prints is shown without terminal escapes, which a stranger's file may hold.
    interrupted: the line after Ctrl-C, with exit code 130.
    """
    out, err = (cast(TextIO, _Shown(stream)) for stream in (sys.stdout, sys.stderr))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    except UserError as error:
        refuse(error)
    except Exception as error:
        if told := paths.reason(error):
            refuse(told)
        reason = files.storage_reason(error) if isinstance(error, OSError) else None
        if reason is None:
            raise
        place = getattr(error, "filename", None) or "a file"
        refuse(f"{place}: {reason}; make room or choose another place")
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)


def count(text: str) -> int:
    """Returns the number of a flag that counts things. Raises ArgumentTypeError below 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Adds --workers, by default one for each core."""
    here = len(host.cores())
    parser.add_argument("--workers", type=count, default=here, help=f"processes ({here} here)")


def add_evaluation(parser: argparse.ArgumentParser, *, run: str) -> None:
    """Adds the flags that say on what a run is evaluated. run: which one, in words."""
    from jaxvl.evals import benchmarks

    parser.add_argument(
        "--split", metavar="NAME", help=f"of the data set (default: the eval.split of {run})"
    )
    parser.add_argument(
        "--data", metavar="DIR", help=f"another prepared data set (default: that of {run})"
    )
    parser.add_argument(
        "--benchmark",
        metavar="NAME",
        help=f"a published benchmark ({', '.join(benchmarks())}); retrieval is evaluated beside "
        "it, the other evaluators are not",
    )
    parser.add_argument("--annotations", metavar="DIR", help="the benchmark's published files")
    parser.add_argument("--images", metavar="DIR", help="the benchmark's images")


def benchmark_of(flags: argparse.Namespace) -> tuple[str, dict[str, str]] | None:
    """Returns (name, its keys in config.evals) of the flags, or None.

    Raises UserError where one of the three flags is missing.
    """
    given = {"--annotations": flags.annotations, "--images": flags.images}
    missing = [flag for flag, value in given.items() if not value]
    if flags.benchmark and missing:
        raise UserError(f"--benchmark {flags.benchmark} needs {' and '.join(missing)}")
    if not flags.benchmark and len(missing) < len(given):
        raise UserError("--annotations and --images belong to a --benchmark")
    if not flags.benchmark:
        return None
    return flags.benchmark, {"annotations": flags.annotations, "images": flags.images}


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a command that can run as several processes, for `connect`."""
    group = parser.add_argument_group("several processes, each started with the same command")
    group.add_argument("--distributed", action="store_true", help="found by Slurm or the TPU pod")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="elsewhere: of process 0")
    group.add_argument("--num_processes", type=count, metavar="N", help="with --coordinator")
    group.add_argument("--process_id", type=int, metavar="I", help="with --coordinator: from 0")


def connect(flags: argparse.Namespace) -> None:
    """Connects this process with the others, where the flags say that there are others.

    Raises UserError where the flags are incomplete or the others cannot be found.
    """
    if not (flags.coordinator or flags.distributed):
        return
    if flags.coordinator and None in (flags.num_processes, flags.process_id):
        raise UserError("--coordinator needs --num_processes and --process_id")
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(flags.coordinator, flags.num_processes, flags.process_id)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the other processes cannot be found: {error}") from error


def check_file(flag: str, path: Path | str) -> None:
    """Raises UserError where no file can be written at `path`."""
    if Path(path).is_dir():
        raise UserError(f"{flag} {path} is a folder; give the name of a file")
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {Path(path).absolute().parent}")
