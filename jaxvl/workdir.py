"""The configuration of a run in its working directory: written, read, checked, compared."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import files
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
    "data.prefetch_batches",
    "data.loader_threads",
    "data.eval_crop",
    "model.scan_layers",
    "model.remat",
    "loss.itm_reuse_keys",
)


def begin(config: ConfigDict, workdir: Path | str) -> None:
    """Makes the working directory and writes config.json, or checks the run that is there.

    Raises UserError naming a key in which that run differs, or where the directory cannot be made.
    """
    workdir = Path(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir {workdir} cannot be made: {error.strerror}") from None
    if (workdir / "config.json").exists():
        check_same(config, workdir)
    save_config(config, workdir)


def save_config(config: ConfigDict, workdir: Path | str) -> None:
    """Writes every key of the configuration to WORKDIR/config.json."""
    files.write_json(Path(workdir) / "config.json", config.to_dict())


def load_config(workdir: Path | str) -> ConfigDict:
    """Returns the ConfigDict of a run. Raises UserError where there is none that can be read.

    Keys that are newer than the run have their defaults, with which a step computes what it did
    before they existed.
    """
    path = Path(workdir) / "config.json"
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{workdir} is not a run's working directory: no config.json") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    config = config_lib.base()
    given, known = flat(stored), flat(config)
    _check_known(given, known)
    # An evaluator is a group of keys, or None, and `update` would not replace one by the other.
    evals = config.evals.to_dict()
    for name, keys in stored.pop("evals", {}).items():
        if keys is None or not evals.get(name):
            evals[name] = keys
        else:
            evals[name] = {**evals[name], **keys}
    config.evals = ConfigDict(evals)
    config.update(stored)
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
    """Raises UserError naming a key, other than FREE_KEYS, that differs in WORKDIR/config.json."""
    stored, given = (
        flat(json.loads(json.dumps(one.to_dict()))) for one in (load_config(workdir), config)
    )
    for key in sorted(set(stored) | set(given)):
        free = any(key == name or key.startswith(f"{name}.") for name in FREE_KEYS)
        if not free and stored.get(key) != given.get(key):
            raise UserError(
                f"config: {key}={given.get(key)!r}, but {workdir} was started with "
                f"{stored.get(key)!r}; continue with that value or choose another --workdir"
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
