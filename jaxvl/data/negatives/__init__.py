"""Hard negatives of captions: what training reads, and where it comes from.

K kinds of negative, n captions asked for.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxvl.data.negatives import storage
from jaxvl.errors import UserError

__all__ = ["KINDS", "Negatives", "open_negatives"]

KINDS = ("relation", "adj_swap", "adj", "noun", "verb")


class Negatives(NamedTuple):
    """Hard negatives of one split.

    kinds: what was changed, one name a column, K in all. read(example, caption): int [n] each,
    the record's place in the split and the caption's in the record -> list of n lists of K str,
    "" where there is none; may be called from several threads.
    """

    kinds: tuple[str, ...]
    read: Callable


def open_negatives(directory, *, fingerprint, kinds):
    """The Negatives that `jaxvl negatives` wrote, for the source of that fingerprint.

    fingerprint: `Source.fingerprint`. kinds: the columns expected, in order.
    Raises UserError where there are none, for another data set, or other kinds.
    """
    kinds = tuple(kinds)
    meta = storage.read_meta(directory)
    if tuple(meta["kinds"]) != kinds:
        raise UserError(
            f"{directory}: holds {len(meta['kinds'])} negatives a caption "
            f"({', '.join(meta['kinds'])}), data.negative_kinds asks for {len(kinds)} "
            f"({', '.join(kinds)}); set data.negative_kinds to what is there"
        )
    data_set, _, split = fingerprint.partition(":")
    if meta["fingerprint"] != data_set:
        raise UserError(
            f"{directory}: made for another data set ({meta['data']}, {meta['fingerprint'][:8]}, "
            f"not {data_set[:8]}); make it anew with "
            f"`jaxvl negatives --data ... --out {directory}`"
        )
    return Negatives(kinds, storage.reader(directory, split=split, splits=meta["splits"]))
