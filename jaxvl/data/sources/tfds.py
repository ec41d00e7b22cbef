"""Any TFDS builder with an image and captions, by name and data_dir, prepared as ArrayRecord."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvl.data import schema
from jaxvl.data.sources import shards
from jaxvl.data.sources.source import Source, SourceComponent
from jaxvl.errors import UserError, require
from jaxvl.keys import Key

_CAPTION_KEYS = ("captions", "caption", "text", "texts")
_FILE_NAME_KEYS = ("file_name", "image/filename", "filename", "image_id", "image/id", "id")


def open_tfds(name: str, directory: Path | str, *, split: str) -> Source:
    """Returns the Source of a split of a TFDS builder.

    name: of the builder, or `name/config`. directory: the data_dir that it was prepared in.

    Raises UserError, with the one command that prepares it, where it is not prepared as
    ArrayRecord, and for a builder without image or captions.
    """
    info = find_info(name, directory)
    split_info = shards.find_split(info, split)
    return Source(
        name=f"{name}:{split}",
        num_examples=split_info.num_examples,
        fingerprint=_fingerprint(info, split),
        read=shards.reader(split_info),
        parse=_parser(info, _image_key(info), _caption_key(info)),
    )


def find_info(name: str, directory: Path | str) -> Any:
    """Returns TFDS's DatasetInfo of builder `name`, stored as ArrayRecord.

    Raises UserError, with the one command that prepares it, where it is not.
    """
    from jaxvl.data.host_tf import tfds

    core: Any = tfds.core  # it adds its modules when they are asked for
    # Not `tfds build`: the tfds command line starts only where apache_beam is installed.
    command = (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', "
        f"data_dir='{directory}', file_format='array_record').download_and_prepare()\""
    )
    try:
        # From the files alone: the builder's own code might look on the network.
        builder = core.read_only_builder.builder_from_files(name, data_dir=str(directory))
    except tfds.core.DatasetNotFoundError:
        raise UserError(
            f"TFDS data set {name} is not prepared in {directory}; run: {command}"
        ) from None
    info = builder.info
    formats = [each.value for each in (info.file_format, *info.alternative_file_formats)]
    if "array_record" not in formats:
        path = str(builder.data_path)
        raise UserError(
            f"TFDS data set {name} in {directory} is stored as {formats[0]}, which has no random "
            f"access; run: mv {path} {path}.{formats[0]} && {command}"
        )
    return tfds.builder_from_directory(str(builder.data_path), file_format="array_record").info


def _image_key(info: Any) -> str:
    from jaxvl.data.host_tf import tfds

    keys = [key for key, f in info.features.items() if isinstance(f, tfds.features.Image)]
    if not keys:
        raise UserError(f"TFDS data set {info.name}: no image among {', '.join(info.features)}")
    return "image" if "image" in keys else keys[0]


def _caption_key(info: Any) -> str:
    """Returns the name of the captions in a stored example: "captions", "captions/text", ..."""
    from jaxvl.data.host_tf import tf

    stored = info.features.get_serialized_info()
    for key in _CAPTION_KEYS:
        found = stored.get(key)
        inner = found if isinstance(found, dict) else {"": found}
        for inner_key in ("", *_CAPTION_KEYS):
            tensor = inner.get(inner_key)
            if tensor is not None and tensor.tf_dtype == tf.string and len(tensor.shape) <= 1:
                return f"{key}/{inner_key}".rstrip("/")
    raise UserError(
        f"TFDS data set {info.name}: no captions among {', '.join(info.features)}; "
        f"looked for {', '.join(_CAPTION_KEYS)}"
    )


def _parser(info: Any, image_key: str, caption_key: str) -> Callable[[Any], dict[str, Any]]:
    from jaxvl.data.host_tf import tf

    file_name_key = next((key for key in _FILE_NAME_KEYS if key in info.features), None)
    spec = {
        image_key: tf.io.FixedLenFeature([], tf.string),
        caption_key: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
    }
    if file_name_key:
        dtype = tf.as_dtype(info.features[file_name_key].get_serialized_info().tf_dtype)
        spec[file_name_key] = tf.io.FixedLenFeature([], dtype)

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


def _fingerprint(info: Any, split: str) -> str:
    sizes = {name: [s.shard_lengths, s.num_bytes] for name, s in info.splits.items()}
    described = json.dumps([info.full_name, sizes], sort_keys=True)
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
    splits = find_info(data.name, directory).splits
    return {name: split.num_examples for name, split in splits.items()}


TFDS = SourceComponent(
    lambda data, *, directory, split: open_tfds(data.name, directory, split=split),
    _split_sizes,
    keys={"data": {"name": Key("", 'TFDS builder, such as "coco_captions"')}},
    check=_check,
)
