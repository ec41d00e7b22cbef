"""What the command lines share: a parser, mistakes as one line, opening a finished run."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from jaxvl.errors import UserError


def parser(module, description):
    """Returns an ArgumentParser for `python -m MODULE`; the description is shown as it is."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextlib.contextmanager
def mistakes_in_one_line():
    """Prints what the user can put right as one line to stderr and exits 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        yield
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def load_run(workdir, *, split=None, data=None):
    """Returns the configuration of a run for any machine, not the one it was trained on.

    split, data: a split, and a prepared data set, in place of the run's own; None for these.
    """
    from jaxvl.workdir import load_config

    config = load_config(workdir)
    config.mesh.update(data=-1, fsdp=1)
    config.eval.split = split or config.eval.split
    if data:
        use_data(config, data)
    return config


def use_data(config, directory):
    """Points a run's configuration at another prepared data set, read with the run's tokenizer."""
    mixture = config.data.mixture
    trained_on = mixture[0][0] if mixture and not config.data.dir else config.data.dir
    config.data.tokenizer = config.data.tokenizer or trained_on
    config.data.name = ""
    config.data.dir = directory


def check_file(flag, path):
    """Raises UserError where no file can be written at `path`."""
    if Path(path).is_dir():
        raise UserError(f"{flag} {path} is a folder; give the name of a file")
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {Path(path).absolute().parent}")
