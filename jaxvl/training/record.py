"""run.json in a working directory: which data a run is made of, and what each start of it ran on.

A data set is known by its fingerprint, so it can be moved. The code, the libraries, the command and
the machine of each start are for people; nothing depends on them.
"""

import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxvl import files, paths, workdir
from jaxvl.data.negatives import storage
from jaxvl.data.sources import Source
from jaxvl.errors import UserError

LIBRARIES = (
    "jax",
    "jaxlib",
    "libtpu",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-datasets",
    "array_record",
    "tokenizers",
    "numpy",
    "pillow",
)
Weighted = Sequence[tuple[Source, float]]


def data_of(config: ConfigDict, trained_on: Weighted, held_out: Source | None) -> dict[str, Any]:
    """Returns what to record of the data of a run.

    trained_on: sources and their weights. held_out: the split that the run is evaluated on.
    """
    return {
        "train": [{**_described(source), "weight": weight} for source, weight in trained_on],
        "held_out": held_out and _described(held_out),
        "negatives": _negatives(config),
    }


def check_data(directory: Path | str, data: dict[str, Any]) -> None:
    """Raises UserError where the run in `directory` was started with other data."""
    stored = read(directory).get("data")
    if stored:
        _check_same(stored, data, paths.of(directory))


def check_held_out(directory: Path | str, source: Source) -> None:
    """Raises UserError where `source` is of no data set that the run in `directory` is made of."""
    stored = read(directory).get("data")
    if not stored:
        return
    known = [*stored["train"], *filter(None, [stored["held_out"]])]
    if _data_set(source.fingerprint) not in {_data_set(one["fingerprint"]) for one in known}:
        place = source.name.rpartition(":")[0]
        raise UserError(
            f"{place} is not the data set that {directory} was trained on: its fingerprint is "
            f"another one. Give the place of that one with --config.data.dir=DIR, or evaluate on "
            f"this one with --data {shlex.quote(place)}"
        )


def add_start(directory: Path | str, data: dict[str, Any], *, step: int) -> None:
    """Writes run.json: the data, and one more start, which continues from `step`.

    Raises UserError where it cannot be written.
    """
    before = read(directory).get("starts", [])
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "step": step,
        "command": shlex.join(sys.orig_argv),
        "code": _code(),
        "python": platform.python_version(),
        "libraries": libraries(),
        "hardware": _hardware(),
    }
    files.write_json(
        paths.of(directory) / workdir.RECORD,
        {
            "data": data,
            workdir.TOKENIZER: workdir.digest_of_tokenizer(directory),
            "starts": [*before, start],
        },
    )


def read(directory: Path | str) -> dict[str, Any]:
    """Returns run.json; {} of a run of an older version, and of `jaxvl convert`.

    Raises UserError where it is damaged.
    """
    path = paths.of(directory) / workdir.RECORD
    if not path.exists():
        return {}
    found = files.read_json(path)
    try:
        data = found["data"]
        for one in [*data["train"], *filter(None, [data["held_out"]])]:
            _data_set(one["fingerprint"])
        list(found["starts"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: damaged; restore it, or delete it to go on unchecked") from None
    return found


def _described(source):
    return {
        "name": source.name,
        "fingerprint": source.fingerprint,
        "examples": source.num_examples,
    }


def _negatives(config):
    """Returns a digest of what says which negatives these are; None for those of the data set."""
    folder = config.data.negatives
    if folder in ("", "own"):
        return None
    storage.read_meta(folder)
    return hashlib.sha256((paths.of(folder) / storage.META_FILE).read_bytes()).hexdigest()


def _data_set(fingerprint):
    return fingerprint.partition(":")[0]


def _check_same(stored, data, directory):
    known = ("fingerprint", "examples", "weight")
    before, now = (
        [{name: one.get(name) for name in known} for one in which["train"]]
        for which in (stored, data)
    )
    if before != now:
        names = ", ".join(one["name"] for one in data["train"])
        was = ", ".join(one["name"] for one in stored["train"])
        raise UserError(
            f"{names} is other data than {directory} was started with (then at {was}): the "
            "fingerprints differ; give the place of that data with --config.data.dir=DIR, or "
            "choose another --workdir"
        )
    if stored.get("negatives") != data["negatives"]:
        raise UserError(
            f"config: data.negatives holds other negatives than those that {directory} was started "
            "with; give their folder, or choose another --workdir"
        )


def _code():
    """Returns the version, and the commit where the package lies in its own repository."""
    root = Path(__file__).resolve().parents[2]
    code = {"version": importlib.metadata.version("jaxvl")}
    if not (root / ".git").exists():
        return code
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", "jaxvl", "configs")
    count = None if changed is None else len(changed.splitlines())
    return {**code, "commit": commit, "changed_files": count}


def _git(root, *arguments):
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def libraries() -> dict[str, str]:
    """Returns the versions of the libraries that what a run computes depends on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _hardware():
    devices = jax.devices()
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": jax.process_count(),
    }
