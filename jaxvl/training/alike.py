"""The processes of one run must be alike: the same code, libraries, configuration, data, weights.

Otherwise they wait for each other for ever, or compute something that belongs to none of them. Each
process writes down what it has, process 0 compares, and all hear the same verdict.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl import files, paths, workdir
from jaxvl.errors import UserError
from jaxvl.interop import load
from jaxvl.training import coordination, record

PACKAGE = Path(__file__).parents[1]
Facts = Mapping[str, Mapping[str, str]]  # {kind: {name: value}}
_ADVICE = {
    "devices": "use machines of one kind; where one sees fewer, look at what else runs there",
    "code": "install the same jaxvl on all hosts",
    "libraries": "install the same versions on all hosts",
    "configuration": "give the same command on all hosts",
    "data": "copy the same data set to all hosts",
    "weights": "copy the same files to all hosts",
    "checkpoints": "put --workdir on a file system that all hosts see",
}
_rounds = count()


class Unlike(UserError):
    """The processes of a run differ. All of them raise it, so none is to be taken for dead."""


def check(facts: Facts) -> None:
    """Raises Unlike, the same in all processes, where one has other facts than process 0.

    To be called by all processes; does nothing where there is only one.
    """
    if jax.process_count() == 1:
        return
    number, key = jax.process_index(), f"alike/{next(_rounds)}"
    own = [f"process {number} on {os.uname().nodename}", facts]
    if number:
        coordination.write(f"{key}/{number}", json.dumps(own))
        verdict = coordination.read(f"{key}/verdict", missing="process 0 has not compared")
    else:
        verdict = _verdict(own, key)
        coordination.write(f"{key}/verdict", verdict)
    if verdict:
        raise Unlike(verdict)


def _verdict(own, key):
    for number in range(1, jax.process_count()):
        missing = f"process {number} has not come to be compared"
        other = json.loads(coordination.read(f"{key}/{number}", missing=missing))
        if found := difference(other, own):
            return found
    return ""


def difference(other: tuple[str, Facts], own: tuple[str, Facts]) -> str:
    """Returns in one line how two processes differ; "" for not at all. Each: (name, facts)."""
    (who, theirs), (me, ours) = other, own
    for kind, advice in _ADVICE.items():
        one, two = theirs.get(kind, {}), ours.get(kind, {})
        names = sorted(name for name in {*one, *two} if one.get(name) != two.get(name))
        if names:
            first = names[0]
            values = f"{one.get(first, 'missing')} and {two.get(first, 'missing')}"
            more = f", and in {len(names) - 1} more" if names[1:] else ""
            return f"{who} and {me} differ in {kind}: {first} ({values}){more}; {advice}"
    return ""


def program(config: ConfigDict) -> Facts:
    """Returns the facts of the program: its code, its libraries, the values of its keys.

    Places of data may differ from host to host: what lies there is compared.
    """
    keys = workdir.flat(config)
    return {
        "code": _code(),
        "libraries": {"python": platform.python_version(), **record.libraries()},
        "configuration": {
            key: repr(value) for key, value in keys.items() if key not in workdir.PATH_KEYS
        },
    }


def data(described: Mapping[str, Any], tokenizer: Tokenizer, *, steps: Sequence[int]) -> Facts:
    """Returns the facts of the data, and of the working directory.

    described: of jaxvl.training.record.data_of. steps: of the checkpoints that are there.
    """
    held_out = [one for one in [described["held_out"]] if one]
    found = {"tokenizer": tokenizer.to_str(), "negatives": described["negatives"]}
    for kind, sources in {"training": described["train"], "evaluation": held_out}.items():
        for place, one in enumerate(sources):
            found[f"set {place + 1} of {kind}"] = one["fingerprint"]
    return {
        "data": {name: _short(str(value).encode()) for name, value in found.items()},
        "checkpoints": {"newest step": str(steps[-1] if steps else None)},
    }


def weights(init: str) -> Facts:
    """Returns the facts of the weights that `model.init` names. Reads them whole."""
    digests = {}
    for path in map(paths.of, load.paths_of(init)):
        if path.is_dir():
            digests[path.name] = files.digest(path)[:12]
        else:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    return {"weights": digests}


@cache
def _code():
    return {
        path.relative_to(PACKAGE.parent).as_posix(): _short(path.read_bytes())
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "configs"  # of these the values are compared
    }


def _short(content):
    return hashlib.sha256(content).hexdigest()[:12]
