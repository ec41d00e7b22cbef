"""Data sets written by `jaxvl prepare`."""

import functools

from jaxvl.data import store
from jaxvl.data.sources import shards
from jaxvl.data.sources.source import Source, SourceComponent
from jaxvl.errors import UserError, require


def open_prepared(directory, *, split):
    """Returns the Source of a split of a prepared directory."""
    from jaxvl.data.host_tf import tfds

    meta = store.read_meta(directory)
    if meta["format_version"] != store.FORMAT_VERSION:
        raise UserError(
            f"{directory}: format {meta['format_version']}, this version of jaxvl reads "
            f"{store.FORMAT_VERSION}; prepare it again"
        )
    info = tfds.builder_from_directory(str(directory)).info
    split_info = shards.find_split(info, split)
    return Source(
        name=f"{directory}:{split}",
        num_examples=split_info.num_examples,
        fingerprint=f"{meta['fingerprint']}:{split}",
        read=shards.reader(split_info),
        parse=parse,
    )


def parse(serialized):
    """Returns a serialized record as a dict of tensors, as in `store`; the image stays encoded."""
    from jaxvl.data.host_tf import tf

    return tf.io.parse_single_example(serialized, _features())


@functools.cache
def _features():
    from jaxvl.data.host_tf import tf

    def many(shape, dtype):
        return tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True)

    return {
        "image": tf.io.FixedLenFeature([], tf.string),
        "file_name": tf.io.FixedLenFeature([], tf.string),
        "captions": many([], tf.string),
        "boxes": many([4], tf.float32),
        "mentions": many([3], tf.int64),
        "negatives": many([], tf.string),
        "negative_kinds": many([], tf.string),
        "negative_captions": many([], tf.int64),
    }


def _check(config):
    require(
        config.data.dir or config.data.mixture,
        "data.dir is empty; give a prepared data set with --config.data.dir=DIR "
        "(`jaxvl prepare` makes one)",
    )


PREPARED = SourceComponent(
    lambda data, *, directory, split: open_prepared(directory, split=split),
    lambda data, *, directory: store.read_meta(directory)["splits"],
    check=_check,
)
