"""Random access to one split of a TFDS directory stored as ArrayRecord.

TFDS's own reader of such a directory is not used: it imports whatever module features.json names.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvl import copies, paths
from jaxvl.errors import UserError

FORMAT = "array_record"
INFO_FILE = "dataset_info.json"


class Stored(NamedTuple):
    """What dataset_info.json says of a directory.

    full_name: name, configuration and version. formats: in which the records are stored.
    splits: TFDS's SplitDict, of the files in ArrayRecord.
    """

    directory: str
    full_name: str
    formats: tuple[str, ...]
    splits: Any


def read_info(directory: Path | str) -> Stored:
    """Returns the Stored of a TFDS directory. Raises UserError where it cannot be read."""
    from jaxvl.data.host_tf import tfds

    path = paths.of(directory) / INFO_FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        names = [told["name"], told.get("configName", ""), told["version"]]
        splits = [_split_info(told["name"], str(directory), each) for each in told["splits"]]
        formats = (told.get("fileFormat", ""), *told.get("alternativeFileFormats", ()))
        full_name = "/".join(filter(None, names))
        return Stored(str(directory), full_name, formats, tfds.core.SplitDict(splits))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; copy or prepare the data set again") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: damaged ({reason}); copy or prepare the data set again") from None


def _split_info(data_set: str, directory: str, told: dict[str, Any]) -> Any:
    from jaxvl.data.host_tf import tfds

    template = tfds.core.ShardedFileTemplate(
        dataset_name=data_set,
        data_dir=tfds.core.Path(directory),
        split=told["name"],
        filetype_suffix=FORMAT,
    )
    if told.get("filepathTemplate"):
        template = template.replace(template=told["filepathTemplate"])
    return tfds.core.SplitInfo(
        name=told["name"],
        shard_lengths=[int(length) for length in told.get("shardLengths", ())],
        num_bytes=int(told.get("numBytes", 0)),
        filename_template=template,
    )


def find_split(stored: Stored, split: str) -> Any:
    """Returns TFDS's SplitInfo of `split`, which may be an expression such as "train+val".

    Raises UserError, naming the splits there are, where the split is unknown or empty.
    """
    splits = stored.splits
    try:
        found = splits[split]
        num_examples = found.num_examples
    except (KeyError, ValueError, AssertionError):
        found, num_examples = None, 0
    if not num_examples:
        there = ", ".join(f"{name} ({splits[name].num_examples})" for name in splits)
        raise UserError(
            f"{stored.directory}: no split {split!r}, or an empty one; there are: {there}"
        )
    return found


def reader(stored: Stored, split_info: Any) -> Callable[[np.ndarray], list[bytes]]:
    """Returns `read(indices) -> list of serialized records` of a split.

    It is thread-safe, and opens a file when it first reads from it. Raises UserError naming a file
    that is missing or lies outside of the directory.
    """
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    instructions, directory = split_info.file_instructions, os.path.normpath(stored.directory)
    for path in (instruction.filename for instruction in instructions):
        if os.path.normpath(os.path.dirname(path)) != directory:
            raise UserError(f"{stored.directory}: {INFO_FILE} names {path}, outside of the folder")
    names = [os.path.basename(instruction.filename) for instruction in instructions]
    folder = copies.local(stored.directory, only=names)
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing; copy or prepare the data set again")
    records = ArrayRecordDataSource(
        [each.replace(filename=str(folder / name)) for each, name in zip(instructions, names)]
    )

    def read(indices: np.ndarray) -> list[bytes]:
        return list(records.__getitems__(np.asarray(indices).tolist()))

    return read
