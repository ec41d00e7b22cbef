"""A working directory made of published weights, to evaluate and to start from."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl import checkpoint, files, workdir
from jaxvl import config as config_lib
from jaxvl.errors import UserError
from jaxvl.interop import load
from jaxvl.interop.kinds import open_weights
from jaxvl.interop.weights import Weights
from jaxvl.keys import nearest
from jaxvl.types import Model


def configuration(paths: Sequence[str], changes: Mapping[str, Any]) -> ConfigDict:
    """Returns the configuration that follows from weights, with `changes` applied.

    paths: of what model.init can be. changes: {dotted key: value}. Raises UserError for weights
    that cannot be read, for an unknown key, and for a key that only the user can tell.
    """
    if len(paths) == 1 and load.is_own(paths[0]):
        config = workdir.load_config(paths[0]).unlock()
        config.mesh.update(data=-1, fsdp=1)
        _check_keys(config, changes)
    else:
        config = config_lib.base()
        _check_keys(config, changes)
        _apply(config, [open_weights(path) for path in paths], changes)
    for key, value in changes.items():
        _set(config, key, value)
    config.model.init = ",".join(map(str, paths))
    if not (config.data.tokenizer or load.tokenizer_of_init(config.model.init)):
        raise UserError(
            f"{config.model.init} brings no tokenizer; name its folder or file with "
            "--set data.tokenizer=PATH"
        )
    return config


def _apply(config: ConfigDict, sources: Sequence[Weights], changes: Mapping[str, Any]) -> None:
    for source in sources:
        for key, advice in source.unknown.items():
            if key not in changes:
                raise UserError(f"{source.path} does not tell {key}; add --set {advice}")
        for key, value in (source.guesses | source.start | source.settings).items():
            _set(config, key, value)
    # The last fusion layer cannot be explained, so a short fusion encoder needs an earlier one.
    config.softmask.layer = min(config.softmask.layer, config.model.text.fusion_layers - 2)


def _check_keys(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    known = workdir.flat(config)
    for key in changes:
        if key not in known:
            raise UserError(f"--set {key}: there is no such key{nearest(key, known)}")


def _set(config: ConfigDict, key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for name in groups:
        config = config[name]
    if isinstance(config[last], tuple) and not isinstance(value, (tuple, list)):
        value = (value,)
    try:
        config[last] = tuple(value) if isinstance(value, list) else value
    except TypeError as error:
        raise UserError(f"--set {key}={value}: {error}") from None


def convert(
    config: ConfigDict, out: Path | str, *, model: Model, mesh: Mesh, tokenizer: Tokenizer
) -> None:
    """Writes the weights that config.model.init names as the working directory `out`, at step 0.

    config: of `configuration`, checked, with the size of the vocabulary filled in. model, mesh,
    tokenizer: of this configuration. Prints what became of every tensor, which `out`/init.json
    keeps. Raises UserError for weights that do not fit; then `out` is as it was.
    """
    out = Path(out)
    with files.written_whole(out) as folder:
        _check_room(folder, model)
        params, report = load.load(config, model=model, mesh=mesh, tokenizer=tokenizer)
        print(load.table(report), flush=True)
        files.write_json(folder / "init.json", report._asdict())
        stored = config.copy_and_resolve_references().unlock()
        stored.model.init, stored.model.allow_missing = "", ()
        stored.data.tokenizer = str(out.absolute() / "tokenizer.json")
        tokenizer.save(str(folder / "tokenizer.json"))
        workdir.save_config(stored, folder)
        checkpoint.save_params(folder, params)


def _check_room(folder: Path, model: Model) -> None:
    """Raises UserError where the disk has no room, before minutes are spent on reading."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the disk is full: the weights take {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
            "free; nothing was written"
        )
