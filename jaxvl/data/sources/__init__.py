"""Sources by name: data sets by random access, whatever wrote them.

A source reads raw records in bulk on the host and says how TensorFlow parses one; nothing in
between runs Python inside a tf.data graph. `config.data.source` chooses. Each component's
`make(data, *, directory, split)` returns a Source; `data` is config.data.
"""

from pathlib import Path

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


def open_source(data, *, split: str, directory: str | Path = "") -> Source:
    """Returns the Source of a split of the data set that `data` (config.data) names.

    split: as TFDS writes them, so that "train+val" and "train[:10%]" work too. directory: in place
    of data.dir. Raises UserError where there is nothing to read.
    """
    return SOURCES[data.source].make(data, directory=directory or data.dir, split=split)


def split_sizes(data, *, directory: str | Path = "") -> dict[str, int]:
    """Returns the number of examples of each split of the data set that `data` names.

    directory: in place of data.dir. Raises UserError where there is nothing to read.
    """
    return SOURCES[data.source].split_sizes(data, directory=directory or data.dir)
