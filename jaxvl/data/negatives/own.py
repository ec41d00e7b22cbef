"""Hard negatives that are stored in the records of a data set, as those of Scenes."""

from collections.abc import Sequence

import numpy as np

from jaxvl.data.host_tf import tf
from jaxvl.data.negatives.storage import Negatives
from jaxvl.data.records import mapper
from jaxvl.data.sources import Source, annotations
from jaxvl.errors import UserError

_LOOKED_AT = 256  # records among which each kind must appear


def open_own(source: Source, *, kinds: Sequence[str]) -> Negatives:
    """Returns the negatives in a source's records: of each caption the first one of each kind.

    kinds: the columns, in order. Raises UserError for a kind that the records do not have.
    """
    kinds = tuple(kinds)
    _check_kinds(source, kinds)

    def of_caption(record, caption):
        is_its_own_M = record["negative_captions"] == caption
        is_kind_KxM = tf.constant(kinds)[:, None] == record["negative_kinds"][None]
        fits_KxM = tf.pad(is_kind_KxM & is_its_own_M[None], [[0, 0], [0, 1]], constant_values=True)
        texts = tf.concat([record["negatives"], [""]], axis=0)  # "" is taken where no other fits
        return {"texts": tf.gather(texts, tf.argmax(tf.cast(fits_KxM, tf.int32), axis=1))}

    texts = mapper(source, of_caption, num_keys=1)

    def read(example: Sequence[int], caption: Sequence[int]) -> list[list[str]]:
        rows = texts(np.asarray(example), np.asarray(caption, np.int64))["texts"]
        return [[text.decode() for text in row] for row in rows]

    return Negatives(kinds, read)


def _check_kinds(source: Source, kinds: Sequence[str]) -> None:
    some = source._replace(num_examples=min(source.num_examples, _LOOKED_AT))
    there = {kind for record in annotations(some) for kind in record["negative_kinds"]}
    if not there:
        raise UserError(
            f"data.negatives='own': {source.name} brings no negatives; make some with "
            "`jaxvl negatives` and give their directory"
        )
    missing = [kind for kind in kinds if kind not in there]
    if missing or not kinds:
        raise UserError(
            f"data.negative_kinds={kinds}: {source.name} has {', '.join(sorted(there))}"
        )
