"""Records by index through one TensorFlow function, traced once a source, with no Python inside."""

import os

import numpy as np

from jaxvl.data.host_tf import tf
from jaxvl.errors import UserError


def mapper(source, function, *, num_keys=0):
    """Return `(indices, *keys int64) -> dict of arrays`, `function(record, *keys)` for each index.

    function: a graph function of a parsed record and scalars.
    A record that cannot be read or decoded raises UserError naming it.
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

    def rows(index, *keys):
        raw = tf.constant(source.read(index), tf.string)
        return {name: value.numpy() for name, value in graph(raw, *keys).items()}

    def rows_or_the_bad_one(index, *keys):
        try:
            return rows(index, *keys)
        except UserError:
            raise
        except Exception as error:
            for at in range(len(index)):
                try:
                    rows(index[at : at + 1], *(key[at : at + 1] for key in keys))
                except Exception as cause:
                    raise UserError(_what_is_wrong(source, index[at], cause)) from cause
            raise error

    return rows_or_the_bad_one


def _what_is_wrong(source, index, cause):
    """Return the line that names a record that cannot be used."""
    try:
        fields = source.parse(tf.constant(source.read(np.array([index]))[0]))
        file_name = fields["file_name"].numpy().decode("utf-8", "replace")
    except Exception:
        return f"{source.name}: record {index} cannot be read; copy or prepare the data set again"
    if len(fields["captions"]):
        # TF says where in the graph, in many lines; then what, on the line before "[[{{node".
        reason = str(cause).split("\n\t [[")[0].splitlines()[-1].split("MapV2: ")[-1]
    else:
        reason = "it has no caption"
    return (
        f"{source.name}: record {index} ({file_name}) cannot be used: {reason}; "
        "prepare the data set without it"
    )
