"""Any TFDS builder with an image and captions, by name and data_dir, prepared as ArrayRecord.

Its files alone are read: neither the builder's code nor the classes that its files name.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvl import paths
from jaxvl.data import schema
from jaxvl.data.sources import features, shards
from jaxvl.data.sources.source import Source, SourceComponent
from jaxvl.errors import UserError, require
from jaxvl.keys import Key

_CAPTION_KEYS = ("captions", "caption", "text", "texts")
_FILE_NAME_KEYS = ("file_name", "image/filename", "filename", "image_id", "image/id", "id")
_NAME = re.compile(r"(\w+)(?:/([\w.+-]*\w))?(?::(\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def open_tfds(name: str, directory: Path | str, *, split: str) -> Source:
    """Returns the Source of a split of a TFDS builder.

    name: of the builder, or `name/config`. directory: the data_dir that it was prepared in.

    Raises UserError, with the one command that prepares it, where it is not prepared as
    ArrayRecord, and for a builder without image or captions.
    """
    stored = find_stored(name, directory)
    split_info = shards.find_split(stored, split)
    fields = features.stored_fields(stored.directory)
    image_key = _image_key(name, fields)
    return Source(
        name=f"{name}:{split}",
        num_examples=split_info.num_examples,
        fingerprint=_fingerprint(stored, split),
        read=shards.reader(stored, split_info),
        parse=_parser(fields, image_key, _caption_key(name, fields)),
        image_key=image_key,
    )


def find_stored(name: str, directory: Path | str) -> shards.Stored:
    """Returns what is stored of builder `name`, as ArrayRecord.

    Raises UserError, with the one command that prepares it, where it is not.
    """
    # Not `tfds build`: the tfds command line starts only where apache_beam is installed.
    code = (
        f"import tensorflow_datasets as tfds; tfds.builder({name!r}, "
        f"data_dir={str(directory)!r}, file_format='array_record').download_and_prepare()"
    )
    command = f"python -c {shlex.quote(code)}"
    path = _version_folder(name, paths.of(directory))
    if path is None:
        raise UserError(f"TFDS data set {name} is not prepared in {directory}; run: {command}")
    stored = shards.read_info(path)
    if shards.FORMAT not in stored.formats:
        moved = f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.{stored.formats[0]}')}"
        raise UserError(
            f"TFDS data set {name} in {directory} is stored as {stored.formats[0]}, which has no "
            f"random access; run: {moved} && {command}"
        )
    return stored


def _version_folder(name: str, directory: Path) -> Path | None:
    """Returns the folder DIRECTORY/NAME[/CONFIG]/VERSION, of the newest version, or None.

    Where the name tells no configuration, the builder's default one is taken, or the only one.
    Raises UserError where there are several.
    """
    matched = _NAME.fullmatch(name)
    if not matched:
        raise UserError(f"data.name={name!r} is not the name of a TFDS builder")
    builder, config, version = matched.groups()
    root = directory / builder
    if config is None and not _versions(root):
        configs = [path.name for path in sorted(root.glob("*")) if _versions(path)]
        config = configs[0] if len(configs) == 1 else _default_config(root)
        if configs and config not in configs:
            one_of = ", ".join(f"{builder}/{each}" for each in configs)
            raise UserError(f"data.name={name!r}: {directory} has several; name one of {one_of}")
    found = _versions(root / config if config else root)
    return found.get(version) if version else next(iter(found.values()), None)


def _versions(folder: Path) -> dict[str, Path]:
    """Returns {version: folder of a prepared data set}, the newest one first."""
    found = {
        path.name: path
        for path in folder.glob("*")
        if _VERSION.fullmatch(path.name) and (path / features.FILE).is_file()
    }
    newest_first = sorted(found, key=lambda v: [int(part) for part in v.split(".")], reverse=True)
    return {version: found[version] for version in newest_first}


def _default_config(root: Path) -> str | None:
    try:
        return json.loads((root / ".config" / "metadata.json").read_text())["default_config_name"]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _image_key(name: str, fields: features.Fields) -> str:
    keys = [key for key, field in fields.items() if field == features.IMAGE]
    if not keys:
        raise UserError(f"TFDS data set {name}: no image among {', '.join(fields)}")
    return "image" if "image" in keys else keys[0]


def _caption_key(name: str, fields: features.Fields) -> str:
    """Returns the name of the captions in a stored example: "captions", "captions/text", ..."""
    for key in _CAPTION_KEYS:
        for full in (key, *(f"{key}/{inner}" for inner in _CAPTION_KEYS)):
            if full in fields and fields[full].dtype == "string" and fields[full].rank <= 1:
                return full
    raise UserError(
        f"TFDS data set {name}: no captions among {', '.join(fields)}; "
        f"looked for {', '.join(_CAPTION_KEYS)}"
    )


def _parser(
    fields: features.Fields, image_key: str, caption_key: str
) -> Callable[[Any], dict[str, Any]]:
    from jaxvl.data.host_tf import tf

    file_name_key = next(
        (key for key in _FILE_NAME_KEYS if key in fields and fields[key].rank == 0), None
    )
    spec = {
        image_key: tf.io.FixedLenFeature([], tf.string),
        caption_key: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
    }
    if file_name_key:
        is_text = fields[file_name_key].dtype == "string"
        spec[file_name_key] = tf.io.FixedLenFeature([], tf.string if is_text else tf.int64)

    def parse(serialized):
        example = tf.io.parse_single_example(serialized, spec)
        name = example[file_name_key] if file_name_key else tf.constant("")
        found = {
            "image": example[image_key],
            "file_name": name if name.dtype == tf.string else tf.as_string(name),
            "captions": example[caption_key],
        }
        for field, (dtype, shape, _) in schema.RECORD.items():
            if field not in found:
                found[field] = tf.zeros([0, *shape[1:]], tf.string if dtype is str else dtype)
        return found

    return parse


def _fingerprint(stored: shards.Stored, split: str) -> str:
    sizes = {name: [s.shard_lengths, s.num_bytes] for name, s in stored.splits.items()}
    described = json.dumps([stored.full_name, sizes], sort_keys=True)
    return f"{hashlib.sha256(described.encode()).hexdigest()[:32]}:{split}"


def _check(config: ConfigDict) -> None:
    require(config.data.name, "data.name is empty; data.source='tfds' needs a TFDS builder")
    require(config.data.dir, "data.dir is empty; give the data_dir that TFDS prepared it in")
    require(
        config.data.tokenizer or config.model.init,
        f"data.tokenizer is empty, and the TFDS builder {config.data.name} brings no tokenizer; "
        "give a name, a folder or a tokenizer.json",
    )


def _split_sizes(data: ConfigDict, *, directory: Path | str) -> dict[str, int]:
    splits = find_stored(data.name, directory).splits
    return {name: split.num_examples for name, split in splits.items()}


TFDS = SourceComponent(
    lambda data, *, directory, split: open_tfds(data.name, directory, split=split),
    _split_sizes,
    keys={"data": {"name": Key("", 'TFDS builder, such as "coco_captions"')}},
    check=_check,
)
