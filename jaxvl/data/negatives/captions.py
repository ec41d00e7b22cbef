"""The captions of a whole data set, split by split."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.data import sources
from jaxvl.errors import UserError


class CaptionSet(NamedTuple):
    """The captions of a data set.

    directory, builder: as given to `open_captions`. fingerprint: changes when the data set does.
    splits: {name: number of examples}, without empty ones.
    captions: (split, first, stop) -> the captions of each of these examples.
    """

    directory: str
    builder: str
    fingerprint: str
    splits: dict[str, int]
    captions: Callable[[str, int, int], list[list[str]]]


def open_captions(directory: Path | str, builder: str = "") -> CaptionSet:
    """Returns the captions of a prepared directory, or of a TFDS builder in its data_dir.

    builder: its name, "" for a prepared directory. Raises UserError where there is no example.
    """
    kind = "tfds" if builder else "prepared"
    data = ConfigDict({"source": kind, "name": builder, "dir": str(directory)})
    splits = {name: count for name, count in sources.split_sizes(data).items() if count}
    if not splits:
        raise UserError(f"--data {directory}: holds no split with examples")
    opened = {split: sources.open_source(data, split=split) for split in splits}

    def captions(split: str, first: int, stop: int) -> list[list[str]]:
        return _captions(opened[split], np.arange(first, stop))

    fingerprint = next(iter(opened.values())).fingerprint.partition(":")[0]
    return CaptionSet(str(directory), builder, fingerprint, splits, captions)


def _captions(source: sources.Source, indices: np.ndarray) -> list[list[str]]:
    from jaxvl.data.host_tf import tf

    records = tf.data.Dataset.from_tensor_slices(source.read(indices))
    records = records.map(lambda serialized: source.parse(serialized)["captions"])
    return [
        [text.decode("utf-8", "replace") for text in texts] for texts in records.as_numpy_iterator()
    ]
