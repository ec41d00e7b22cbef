"""Data sets written by `jaxvl prepare`."""

import tensorflow_datasets as tfds

from jaxvl.data import store
from jaxvl.data.host_tf import tf
from jaxvl.data.sources import Source, shards
from jaxvl.errors import UserError


def _many(shape, dtype):
    return tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True)


_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "file_name": tf.io.FixedLenFeature([], tf.string),
    "captions": _many([], tf.string),
    "boxes": _many([4], tf.float32),
    "mentions": _many([3], tf.int64),
    "negatives": _many([], tf.string),
    "negative_kinds": _many([], tf.string),
    "negative_captions": _many([], tf.int64),
}


def open_split(*, directory, split):
    """The Source of a split of a prepared directory."""
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
    """A serialized record -> dict of tensors, as in `store`; the image stays encoded."""
    return tf.io.parse_single_example(serialized, _FEATURES)
