"""Data sources by name: random access to the records of a data set.

A source reads serialized records in bulk on the host and tells TensorFlow how to parse one, so that
no Python runs inside a tf.data graph. `config.data.source` chooses a component of SOURCES.
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxvl.data.sources import prepared, tfds
from jaxvl.data.sources.prepared import open_prepared
from jaxvl.data.sources.source import Source, SourceComponent, annotations
from jaxvl.data.sources.tfds import open_tfds

SOURCES: dict[str, SourceComponent] = {"prepared": prepared.PREPARED, "tfds": tfds.TFDS}

__all__ = [
    "SOURCES",
    "Source",
    "SourceComponent",
    "annotations",
    "open_prepared",
    "open_source",
    "open_tfds",
    "split_sizes",
]


def open_source(data: ConfigDict, *, split: str, directory: str | Path = "") -> Source:
    """Returns the Source of a split of the data set that `data` (config.data) names.

    split: also an expression of TFDS, such as "train+val" or "train[:10%]". directory: replaces
    data.dir. Raises UserError where there is nothing to read.
    """
    return SOURCES[data.source].make(data, directory=directory or data.dir, split=split)


def split_sizes(data: ConfigDict, *, directory: str | Path = "") -> dict[str, int]:
    """Returns the number of examples of each split of the data set that `data` names.

    directory: replaces data.dir. Raises UserError where there is nothing to read.
    """
    return SOURCES[data.source].split_sizes(data, directory=directory or data.dir)
