"""The captions of a whole data set, prepared or TFDS's, split by split."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxvl.data import store
from jaxvl.errors import UserError


class DataSet(NamedTuple):
    """A data set's captions.

    directory, builder: as given to `open_captions`. fingerprint: of all of it. splits: {name:
    examples}. captions(split, first, stop): a list of texts for each example.
    """

    directory: str
    builder: str
    fingerprint: str
    splits: dict
    captions: Callable


def open_captions(directory, name):
    """The DataSet in a prepared directory (name ""), or of TFDS builder `name` in its data_dir.

    Raises UserError where there is none.
    """
    splits = _splits(directory, name)
    if not splits:
        raise UserError(f"--data {directory}: holds no split with examples")
    opened = {split: _open(directory, name, split) for split in splits}

    def captions(split, first, stop):
        return _captions(opened[split], np.arange(first, stop))

    fingerprint = next(iter(opened.values())).fingerprint.partition(":")[0]
    return DataSet(str(directory), name, fingerprint, splits, captions)


def _open(directory, name, split):
    from jaxvl.data import sources

    if name:
        return sources.open_tfds(name, directory, split=split)
    return sources.open_prepared(directory, split=split)


def _splits(directory, name):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not name:
        sizes = store.read_meta(directory)["splits"]
    else:
        from jaxvl.data.sources import tfds

        sizes = {k: v.num_examples for k, v in tfds.find_info(name, directory).splits.items()}
    return {split: count for split, count in sizes.items() if count}


def _captions(source, indices):
    from jaxvl.data.host_tf import tf

    records = tf.data.Dataset.from_tensor_slices(source.read(indices))
    records = records.map(lambda serialized: source.parse(serialized)["captions"])
    return [
        [text.decode("utf-8", "replace") for text in texts] for texts in records.as_numpy_iterator()
    ]
