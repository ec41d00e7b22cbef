"""What the command lines share: a parser, mistakes as one line, opening a finished run."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from jaxvl.errors import UserError


def parser(command, description):
    """Returns an ArgumentParser for `jaxvl COMMAND`; the description is shown as it is."""
    return argparse.ArgumentParser(
        prog=f"jaxvl {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def count(text):
    """Returns the number of a flag that counts things. Raises ArgumentTypeError below 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def cores():
    """Returns the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def add_workers(parser):
    """Adds --workers, by default one a core."""
    here = len(cores())
    parser.add_argument("--workers", type=count, default=here, help=f"processes ({here} here)")


def add_benchmark(parser):
    """Adds the flags that `benchmark_of` reads."""
    parser.add_argument(
        "--benchmark",
        metavar="NAME",
        help="beside retrieval only this: sugarcrepe, sugarcrepe_pp, aro_relation, "
        "aro_attribution, aro_order, valse, winoground, bla, vl_checklist",
    )
    parser.add_argument("--annotations", metavar="DIR", help="the benchmark's published files")
    parser.add_argument("--images", metavar="DIR", help="the benchmark's pictures")


def benchmark_of(flags):
    """Returns (name, its keys in config.evals) of the flags, or None. Raises UserError."""
    given = {"--annotations": flags.annotations, "--images": flags.images}
    missing = [flag for flag, value in given.items() if not value]
    if flags.benchmark and missing:
        raise UserError(f"--benchmark {flags.benchmark} needs {' and '.join(missing)}")
    if not flags.benchmark and len(missing) < len(given):
        raise UserError("--annotations and --images belong to a --benchmark")
    if not flags.benchmark:
        return None
    return flags.benchmark, {"annotations": flags.annotations, "images": flags.images}


@contextlib.contextmanager
def mistakes_in_one_line(*, interrupted="interrupted"):
    """Prints what the user can put right as one line to stderr and exits 2.

    interrupted: the line after Ctrl-C, with exit code 130.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        yield
    except UserError as error:
        print(f"jaxvl: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)


def load_run(workdir, *, split=None, data=None, benchmark=None):
    """Returns the configuration of a run for any machine, not the one it was trained on.

    split, data: a split, and a prepared data set, in place of the run's own; None for these.
    benchmark: of `benchmark_of`; evaluators are then this one and retrieval, since the one is known
    to cost the other.
    """
    from jaxvl.workdir import load_config

    config = load_config(workdir)
    config.mesh.update(data=-1, fsdp=1)
    config.eval.split = split or config.eval.split
    if data:
        use_data(config, data)
    if benchmark:
        _only(config, *benchmark)
    return config


def _only(config, name, keys):
    from jaxvl.evals import BENCHMARKS

    if name not in BENCHMARKS:
        raise UserError(f"--benchmark {name} is not one of {', '.join(BENCHMARKS)}")
    for other in config.evals:
        if other != "retrieval":
            config.evals[other] = None
    config.evals[name] = keys


def use_data(config, directory):
    """Points a run's configuration at another prepared data set, read with the run's tokenizer."""
    mixture = config.data.mixture
    trained_on = mixture[0][0] if mixture and not config.data.dir else config.data.dir
    config.data.tokenizer = config.data.tokenizer or trained_on
    config.data.source = "prepared"
    config.data.dir = directory


def check_file(flag, path):
    """Raises UserError where no file can be written at `path`."""
    if Path(path).is_dir():
        raise UserError(f"{flag} {path} is a folder; give the name of a file")
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {Path(path).absolute().parent}")
