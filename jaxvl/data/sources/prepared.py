"""Data sets written by `jaxvl prepare`."""

import functools
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvl.data import schema, store
from jaxvl.data.sources import shards
from jaxvl.data.sources.source import Source, SourceComponent
from jaxvl.errors import UserError, require


def open_prepared(directory: Path | str, *, split: str) -> Source:
    """Returns the Source of a split of a prepared directory.

    Raises UserError where there is none, the split is unknown or empty, or a file is missing.
    """
    meta = store.read_meta(directory)
    if meta["format_version"] != store.FORMAT_VERSION:
        raise UserError(
            f"{directory}: format {meta['format_version']}, this version of jaxvl reads "
            f"{store.FORMAT_VERSION}; prepare it again"
        )
    stored = shards.read_info(directory)
    split_info = shards.find_split(stored, split)
    return Source(
        name=f"{directory}:{split}",
        num_examples=split_info.num_examples,
        fingerprint=f"{meta['fingerprint']}:{split}",
        read=shards.reader(stored, split_info),
        parse=parse,
    )


def parse(serialized: Any) -> dict[str, Any]:
    """Returns a serialized record as a dict of tensors, as in `schema.RECORD`.

    The image stays encoded. `serialized`: scalar string tensor; a graph function.
    """
    from jaxvl.data.host_tf import tf

    return tf.io.parse_single_example(serialized, _features())


@functools.cache
def _features() -> dict[str, Any]:
    from jaxvl.data.host_tf import tf

    def feature(field: schema.Field) -> Any:
        dtype = tf.string if field.dtype in (bytes, str) else field.dtype
        if not field.shape:
            return tf.io.FixedLenFeature([], dtype)
        return tf.io.FixedLenSequenceFeature(field.shape[1:], dtype, allow_missing=True)

    return {name: feature(field) for name, field in schema.RECORD.items()}


def _given(directory: Path | str) -> Path | str:
    require(
        str(directory),
        "data.dir is empty; give a prepared data set with --config.data.dir=DIR "
        "(`jaxvl prepare` makes one)",
    )
    return directory


def _check(config: ConfigDict) -> None:
    """A run that has its tokenizer from elsewhere can be opened without a data set."""
    if not (config.data.mixture or config.data.tokenizer or config.model.init):
        _given(config.data.dir)


PREPARED = SourceComponent(
    lambda data, *, directory, split: open_prepared(_given(directory), split=split),
    lambda data, *, directory: store.read_meta(_given(directory))["splits"],
    check=_check,
)
