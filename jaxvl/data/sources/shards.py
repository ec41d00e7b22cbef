"""Random access to one split of a TFDS directory stored as ArrayRecord."""

from pathlib import Path

import numpy as np

from jaxvl.errors import UserError


def find_split(info, split):
    """TFDS's SplitInfo of `split`, which may be an expression such as "train+val".

    Raises UserError, naming the splits there are, for one unknown or empty.
    """
    try:
        found = info.splits[split]
        num_examples = found.num_examples
    except (KeyError, ValueError, AssertionError):
        num_examples = 0
    if not num_examples:
        there = ", ".join(f"{name} ({info.splits[name].num_examples})" for name in info.splits)
        raise UserError(f"{info.data_dir}: no split {split!r}, or an empty one; there are: {there}")
    return found


def reader(split_info):
    """read(indices) -> list of raw records. Thread-safe; opens a shard when it is first read."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    instructions = split_info.file_instructions
    for instruction in instructions:
        if not Path(instruction.filename).is_file():
            raise UserError(f"{instruction.filename}: missing; copy or prepare the data set again")
    records = ArrayRecordDataSource(instructions)

    def read(indices):
        return records.__getitems__(np.asarray(indices).tolist())

    return read
