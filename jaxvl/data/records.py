"""Reads records by index through one TensorFlow function, traced once a source, without Python."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxvl.data.host_tf import tf
from jaxvl.data.images.plain import plain
from jaxvl.data.sources.source import Source
from jaxvl.errors import UserError


def mapper(
    source: Source, function: Callable[..., dict[str, tf.Tensor]], *, num_keys: int = 0
) -> Callable[..., dict[str, np.ndarray]]:
    """Returns `(indices, *keys) -> dict of arrays`: `function(record, *keys)` for each index.

    function: a graph function of a parsed record and num_keys scalars. keys: int64, one for each
    index. What it returns raises UserError naming a record that cannot be read or decoded.
    """

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)]
        + [tf.TensorSpec([None], tf.int64)] * num_keys
    )
    def graph(raw, *keys):
        def one(raw, *keys):
            return function(source.parse(raw), *keys)

        rows = tf.data.Dataset.from_tensor_slices((raw, *keys))
        rows = rows.map(one, num_parallel_calls=os.cpu_count(), deterministic=True)
        return rows.batch(tf.size(raw, tf.int64)).get_single_element()

    def rows(index: np.ndarray, *keys: np.ndarray) -> dict[str, np.ndarray]:
        records = [_with_plain_image(record, source.image_key) for record in source.read(index)]
        raw: Any = tf.constant(records, tf.string)
        return {name: value.numpy() for name, value in graph(raw, *keys).items()}

    def rows_or_the_bad_one(index: np.ndarray, *keys: np.ndarray) -> dict[str, np.ndarray]:
        try:
            return rows(index, *keys)
        except UserError:
            raise
        except Exception as error:
            for at in range(len(index)):
                try:
                    rows(index[at : at + 1], *(key[at : at + 1] for key in keys))
                except Exception as cause:
                    raise unusable(source, index[at], cause) from cause
            raise error

    return rows_or_the_bad_one


def _with_plain_image(serialized: bytes, key: str) -> bytes:
    """Returns a tf.train.Example whose image TensorFlow decodes as Pillow does, see `plain`."""
    try:
        example = tf.train.Example.FromString(serialized)
        value = example.features.feature[key].bytes_list.value
        image = value[0]
    except Exception:  # it is no such record; the parser says more about it
        return serialized
    found = plain(image)
    if found == image:
        return serialized
    value[0] = found
    return example.SerializeToString()


def unusable(source: Source, index: int, cause: Exception) -> UserError:
    """Returns the UserError that names a record that cannot be used, and why."""
    try:
        fields = source.parse(tf.constant(source.read(np.array([index]))[0]))
        file_name = fields["file_name"].numpy().decode("utf-8", "replace")
    except Exception:
        return UserError(
            f"{source.name}: record {index} cannot be read; copy or prepare the data set again"
        )
    if len(fields["captions"]):
        # TF tells where in the graph, in many lines, then what, on the line before "[[{{node".
        reason = str(cause).split("\n\t [[")[0].splitlines()[-1].split("MapV2: ")[-1]
    else:
        reason = "it has no caption"
    return UserError(
        f"{source.name}: record {index} ({file_name}) cannot be used: {reason}; "
        "prepare the data set without it"
    )
