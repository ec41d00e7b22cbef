"""What a source is, and how to read all annotations of one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxvl.keys import KeyTree

_CHUNK = 4096


class Source(NamedTuple):
    """One split of a data set.

    name: for messages.
    num_examples: records in the split.
    fingerprint: changes when the split does.
    read: indices int [n] -> list of n serialized tf.train.Example. It may be called from several
      threads and opens files when it first reads from them.
    parse: graph function, scalar string -> dict of tensors, as in `schema.RECORD`; the image
      stays encoded.
    image_key: the feature of the tf.train.Example that holds the encoded image.
    """

    name: str
    num_examples: int
    fingerprint: str
    read: Callable[[np.ndarray], list[bytes]]
    parse: Callable[[Any], dict[str, Any]]
    image_key: str = "image"


class SourceComponent(NamedTuple):
    """A kind of data set that `config.data.source` names; `data` is config.data.

    make: (data, *, directory, split) -> Source.
    split_sizes: (data, *, directory) -> {split: number of examples}.
    keys, check: as in `jaxvl.types.Component`.
    """

    make: Callable[..., Source]
    split_sizes: Callable[..., dict[str, int]]
    keys: KeyTree = {}
    check: Callable = lambda config: None


def annotations(source: Source) -> list[dict[str, Any]]:
    """Returns every field of each record but the image, in order, for evaluation.

    Strings are str, lists of strings are lists, numbers are NumPy arrays.
    """
    from jaxvl.data.host_tf import tf

    def parse(serialized):
        record = source.parse(serialized)
        return {key: value for key, value in record.items() if key != "image"}

    found = []
    for start in range(0, source.num_examples, _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, source.num_examples))
        records = tf.data.Dataset.from_tensor_slices(source.read(indices)).map(parse)
        for record in records.as_numpy_iterator():
            found.append({key: _to_python(value) for key, value in dict(record).items()})
    return found


def _to_python(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if value.dtype == object:
        return [text.decode() for text in value]
    return value
