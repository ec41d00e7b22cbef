"""What an experiment needs and is not there: all of it at once, each with its command."""

import shlex
from pathlib import Path

from ml_collections import ConfigDict

from jaxvl import paths
from jaxvl.data import sources, store
from jaxvl.data.negatives import storage
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError
from jaxvl.fetch.weights import NAMES
from jaxvl.interop import load


def check(config: ConfigDict, *, started: bool) -> None:
    """Raises UserError naming everything that is missing, in one line.

    config: with values that were checked. started: the run has checkpoints, so it no longer needs
    the weights that it started from.
    """
    lacks = {**_data(config), **_tokenizer(config)}
    if not started:
        lacks |= _init(config)
    lacks |= _negatives(config)
    if lacks:
        told = "; ".join(f"{what}: {command}" for what, command in lacks.items())
        raise UserError(f"this experiment needs what is not there. {told}")


def _data(config):
    data = config.data
    if data.source != "prepared":
        try:
            sources.open_source(data, split=data.split)
        except UserError as error:
            return {f"data.dir={data.dir!r}": str(error)}
        return {}
    places = [place for place, _ in data.mixture] or [data.dir]
    return {
        f"data.dir={place!r}": f"`{_command_of_data(place)}`"
        for place in places
        if place and not (paths.of(place) / store.META_FILE).exists()
    }


def _command_of_data(place):
    name, out = Path(place).name, shlex.quote(place)
    if name == "coco":
        return f"jaxvl fetch coco --out {out}"
    if name == "scenes":
        return f"jaxvl prepare scenes --out {out}"
    return f"jaxvl prepare folder --images IMAGES --captions TABLE --out {out}"


def _tokenizer(config):
    name = config.data.tokenizer
    if not name:
        return {}
    try:
        tokenizer.load(name)
    except UserError as error:
        known = _command_of_weights(name)
        return {f"data.tokenizer={name!r}": f"`{known}`" if known else str(error)}
    return {}


def _init(config):
    return {
        f"model.init={path!r} cannot be read": (
            f"`{known}`" if (known := _command_of_weights(path)) else "name weights, or a run"
        )
        for path in load.paths_of(config.model.init)
        if not paths.of(path).exists()
    }


def _command_of_weights(path):
    name = Path(path).name
    return f"jaxvl fetch weights {name} --out {shlex.quote(path)}" if name in NAMES else ""


def _negatives(config):
    place, data = config.data.negatives, config.data
    if place in ("", "own") or (paths.of(place) / storage.META_FILE).exists():
        return {}
    where = shlex.quote(data.dir or (data.mixture[0][0] if data.mixture else "DIR"))
    name = f" --name {shlex.quote(data.name)}" if data.source == "tfds" else ""
    command = f"jaxvl negatives --data {where}{name} --out {shlex.quote(place)}"
    return {f"data.negatives={place!r}": f"`{command}`"}
