"""What a run needs to be read, in its working directory: configuration, tokenizer, preprocessing.

A tokenizer and a data set are known by what they are and not by their paths, so a run can be moved,
and so can its data. jaxvl.training.record knows the data set again.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl import config as config_lib
from jaxvl import files, owner, paths, preprocessing
from jaxvl.data.text import tokenizer as tokenizers
from jaxvl.errors import UserError
from jaxvl.keys import nearest

# A run may be continued with other values of these: they do not change what a step computes.
# Every other key must be what it was.
FREE_KEYS = (
    "total_steps",
    "mesh",
    "log",
    "checkpoint",
    "eval",
    "evals",
    "watchdog_seconds",
    "data.prefetch_batches",
    "data.loader_threads",
    "data.eval_crop",
    "model.scan_layers",
    "model.remat",
    "loss.itm_reuse_keys",
)
# What a step did before these keys existed, where that is not what their defaults do.
BEFORE = {"loss": {"same_caption": "negative", "itm_negative_blocks": 1}}
# Paths of what is compared by its content.
PATH_KEYS = ("data.dir", "data.tokenizer", "data.mixture", "data.negatives")
TOKENIZER, LOCK = "tokenizer.json", ".lock"
RECORD = "run.json"  # of jaxvl.training.record


@contextlib.contextmanager
def claimed(workdir: Path | str) -> Iterator[None]:
    """Makes the working directory and holds it: one process trains there at a time.

    Raises UserError where another one does, or where the directory cannot be made.
    """
    workdir = paths.of(workdir, schemes=paths.WRITTEN)
    try:
        paths.make(workdir)
    except OSError as error:
        raise UserError(f"--workdir {workdir} cannot be made: {error.strerror}") from None
    hold = owner.held if paths.scheme_of(workdir) else files.locked
    with hold(
        workdir / LOCK,
        f"{workdir}: another training run is writing there; wait for it, end it, or choose another "
        "--workdir",
    ):
        yield


def begin(config: ConfigDict, workdir: Path | str, *, tokenizer: Tokenizer | None = None) -> None:
    """Writes config.json, the tokenizer and the preprocessing, or checks the run that is there.

    Raises UserError naming a key in which that run differs.
    """
    workdir = paths.of(workdir)
    check_continues(config, workdir)
    save_config(config, workdir)
    if tokenizer is not None and not (workdir / TOKENIZER).exists():
        files.write_text(workdir / TOKENIZER, tokenizer.to_str())


def check_continues(config: ConfigDict, workdir: Path | str) -> None:
    """Raises UserError where the run in `workdir`, if there is one, is another than that."""
    workdir = paths.of(workdir)
    if (workdir / "config.json").exists():
        check_same(config, workdir)
    elif any((workdir / "checkpoints").glob("[0-9]*")):
        raise UserError(
            f"{workdir} has checkpoints but no config.json, so it is unknown what they belong to; "
            "put the file back or choose another --workdir"
        )


def use_own_tokenizer(config: ConfigDict, workdir: Path | str) -> ConfigDict:
    """Returns the configuration with the tokenizer in the working directory, where it has one.

    Runs of older versions have none: theirs is where the configuration says. Raises UserError where
    it is not the one that the run was started with.
    """
    own, record = paths.of(workdir) / TOKENIZER, paths.of(workdir) / RECORD
    recorded = files.read_json(record).get(TOKENIZER) if record.exists() else None
    if recorded and (not own.is_file() or digest_of_tokenizer(workdir) != recorded):
        raise UserError(
            f"{own} is missing or damaged: the run was started with another one; restore it from a "
            "copy"
        )
    if not own.is_file():
        return config
    config = config.copy_and_resolve_references().unlock()
    config.data.tokenizer = str(own)
    return config.lock()


def digest_of_tokenizer(workdir: Path | str) -> str:
    """Returns the SHA-256 of the tokenizer in a working directory."""
    return hashlib.sha256((paths.of(workdir) / TOKENIZER).read_bytes()).hexdigest()


def save_config(config: ConfigDict, workdir: Path | str) -> None:
    """Writes every key to WORKDIR/config.json, and what becomes of an image beside it."""
    files.write_json(paths.of(workdir) / "config.json", config.to_dict())
    files.write_json(paths.of(workdir) / preprocessing.FILE, preprocessing.numbers_of(config))


def load_config(workdir: Path | str) -> ConfigDict:
    """Returns the ConfigDict of a run. Raises UserError where there is none that can be read.

    Keys that are newer than the run have their defaults, or their value in BEFORE, with which a
    step computes what it did before they existed.
    """
    path = paths.of(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"{workdir} is not a run's working directory: no config.json")
    stored = files.read_json(path)
    config = config_lib.base()
    try:
        stored = {**stored, **{name: {**keys, **stored[name]} for name, keys in BEFORE.items()}}
        _check_known(flat(stored), flat(config))
        # An evaluator is a group of keys, or None, and `update` would not replace one by the other.
        evals = config.evals.to_dict()
        for name, keys in stored.pop("evals", {}).items():
            before = evals.get(name)
            evals[name] = {**before, **keys} if before and keys is not None else keys
        config.evals = ConfigDict(evals)
        config.update(stored)
    except (
        UserError,
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:  # or of another type
        raise UserError(f"{path} is damaged, or of a later version: {error}") from None
    return config.lock()


def check_keys(config: ConfigDict | Mapping[str, Any]) -> None:
    """Raises UserError naming a key that config.base() does not have, or one that is missing."""
    given, known = flat(config), flat(config_lib.base())
    _check_known(given, known)
    for key in known:
        if key not in given and not _is_switched(key, known, given):
            raise UserError(f"config: the key {key} is missing; start from jaxvl.config.base()")


def _check_known(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in given:
        if key not in known and not _is_switched(key, given, known):
            raise UserError(f"config: unknown key {key}{nearest(key, known)}")


def _is_switched(key, one, other):
    """Whether `key`, of `one`, belongs to a group that is None, or empty, in one of the two."""
    off = one[key] in (None, {}) and any(name.startswith(f"{key}.") for name in other)
    parents = [key[:end] for end, sign in enumerate(key) if sign == "."]
    return off or any(parent in other and other[parent] is None for parent in parents)


def check_same(config: ConfigDict, workdir: Path | str) -> None:
    """Raises UserError naming a key, other than FREE_KEYS, that differs in WORKDIR/config.json.

    Of a run that has a tokenizer of its own, PATH_KEYS may differ, but not the tokenizer.
    """
    workdir = paths.of(workdir)
    has_own = (workdir / TOKENIZER).is_file()
    free_keys = (*FREE_KEYS, *PATH_KEYS) if has_own else FREE_KEYS
    stored, given = (
        flat(json.loads(json.dumps(one.to_dict()))) for one in (load_config(workdir), config)
    )
    for key in sorted(set(stored) | set(given)):
        free = any(key == name or key.startswith(f"{name}.") for name in free_keys)
        if not free and stored.get(key) != given.get(key):
            raise UserError(
                f"config: {key}={given.get(key)!r}, but {workdir} was started with "
                f"{stored.get(key)!r}; continue with that value or choose another --workdir"
            )
    if has_own and config.data.tokenizer:
        _check_tokenizer(config.data.tokenizer, workdir / TOKENIZER)


def _check_tokenizer(named: str, own: Path) -> None:
    try:
        given = tokenizers.load(named)
    except UserError:  # it has gone, and the run has its own
        return
    if json.loads(given.to_str()) != json.loads(tokenizers.load(own).to_str()):
        raise UserError(
            f"config: data.tokenizer={named!r} is another tokenizer than {own}, with which this "
            "run was started; leave it out or choose another --workdir"
        )


def flat(config: ConfigDict | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {dotted key: value}; an empty group is {its name: {}}."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, (dict, ConfigDict)) and len(value):
            values.update(flat(value, f"{prefix}{key}."))
        else:
            values[f"{prefix}{key}"] = {} if isinstance(value, (dict, ConfigDict)) else value
    return values
