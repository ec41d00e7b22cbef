"""Random access to one split of a TFDS directory stored as ArrayRecord."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxvl.errors import UserError


def find_split(info: Any, split: str) -> Any:
    """Returns TFDS's SplitInfo of `split`, which may be an expression such as "train+val".

    info: TFDS's DatasetInfo. Raises UserError, naming the splits there are, where the split is
    unknown or empty.
    """
    try:
        found = info.splits[split]
        num_examples = found.num_examples
    except (KeyError, ValueError, AssertionError):
        found, num_examples = None, 0
    if not num_examples:
        there = ", ".join(f"{name} ({info.splits[name].num_examples})" for name in info.splits)
        raise UserError(f"{info.data_dir}: no split {split!r}, or an empty one; there are: {there}")
    return found


def reader(split_info: Any) -> Callable[[np.ndarray], list[bytes]]:
    """Returns `read(indices) -> list of serialized records` of a split.

    It is thread-safe, and opens a file when it first reads from it. Raises UserError naming a file
    that is missing.
    """
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    instructions = split_info.file_instructions
    for instruction in instructions:
        if not Path(instruction.filename).is_file():
            raise UserError(f"{instruction.filename}: missing; copy or prepare the data set again")
    records = ArrayRecordDataSource(instructions)

    def read(indices: np.ndarray) -> list[bytes]:
        return list(records.__getitems__(np.asarray(indices).tolist()))

    return read
