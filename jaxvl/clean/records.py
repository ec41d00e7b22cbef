"""The records that are looked at: of a prepared data set, or of a folder before it is prepared."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from jaxvl.data import sources, store
from jaxvl.data.folder import unpack
from jaxvl.data.folder.prepare import read_rows
from jaxvl.data.images.untrusted import Location
from jaxvl.data.text import tokenizer
from jaxvl.data.text.scripts import Reading, check_installed, reading_of
from jaxvl.data.text.training import train
from jaxvl.errors import UserError

_VOCABULARY = 8000  # of the tokenizer that `jaxvl prepare folder` trains
_AT_ONCE = 256


class Record(NamedTuple):
    """An image with its captions. split: "" before there are any."""

    split: str
    file_name: str
    captions: tuple[str, ...]


class Unusable(NamedTuple):
    """A record that cannot be used, and why. place: its line or tar member."""

    place: str
    file_name: str
    reason: str


class DataSet(NamedTuple):
    """A data set as it is looked at.

    name: as the user gave it. kind: "prepared" or "folder". fingerprint: of a prepared one, or "".
    records: split by split. unusable: those that `prepare` leaves out before it opens an image.
    contents: (rows) -> the encoded images, or where they are. words: how words are found.
    tokenizer: () -> its tokenizer, or the one that `prepare` would train.
    """

    name: str
    kind: str
    fingerprint: str
    records: list[Record]
    unusable: list[Unusable]
    contents: Callable[[Sequence[int]], list[bytes | Location]]
    words: str
    tokenizer: Callable[[], Tokenizer]

    def iterate(self) -> Iterator[bytes | Location]:
        """Yields the encoded images, or where they are, in the order of the records."""
        for start in range(0, len(self.records), _AT_ONCE):
            yield from self.contents(range(start, min(start + _AT_ONCE, len(self.records))))


def open_prepared(directory: Path | str) -> DataSet:
    """Returns the DataSet of all splits of a prepared one. Raises UserError where there is none."""
    meta = store.read_meta(directory)
    splits = [name for name, count in meta["splits"].items() if count]
    if not splits:
        raise UserError(f"--data {directory}: holds no split with examples")
    opened = [(name, sources.open_prepared(directory, split=name)) for name in splits]
    records = [
        Record(name, found["file_name"], tuple(found["captions"]))
        for name, source in opened
        for found in sources.annotations(source)
    ]
    starts = np.cumsum([0, *(source.num_examples for _, source in opened)])

    def contents(rows: Sequence[int]) -> list[bytes | Location]:
        split_R = np.searchsorted(starts, rows, side="right") - 1
        return [_image(opened[s][1], row - int(starts[s])) for s, row in zip(split_R, rows)]

    words = store.words_of(directory)
    check_installed(words)
    path = Path(directory) / store.TOKENIZER_FILE
    return DataSet(
        name=str(directory),
        kind="prepared",
        fingerprint=meta["fingerprint"],
        records=records,
        unusable=[],
        contents=contents,
        words=words,
        tokenizer=lambda: tokenizer.load(path),
    )


def _image(source: sources.Source, index: int) -> bytes | Location:
    from jaxvl.data.host_tf import tf

    example: Any = tf.train.Example.FromString(source.read(np.array([index]))[0])
    return example.features.feature[source.image_key].bytes_list.value[0]


@contextlib.contextmanager
def open_folder(
    images: Path | str | None, captions: Path | str, *, room: Path | str
) -> Iterator[DataSet]:
    """Yields the DataSet of a folder as `jaxvl prepare folder` reads it.

    images, captions: its flags. room: what is packed is unpacked beside this folder for the while.
    Raises UserError where there is nothing to read.
    """
    with unpack.room(room) as create:
        found = read_rows(images, captions, create)
        rows = sorted(found.rows, key=lambda row: _order(row.split))  # stable
        left_out = [problem for problem in found.problems if problem.left_out]
        if not rows:
            raise UserError(f"--captions {captions}: no record that can be used in it")
        reading = reading_of(text for row in rows for text in row.captions)
        check_installed(reading.words)
        yield DataSet(
            name=str(captions),
            kind="folder",
            fingerprint="",
            records=[Record(row.split, row.file_name, row.captions) for row in rows],
            unusable=[Unusable(each.record, each.file_name, each.reason) for each in left_out],
            contents=lambda numbers: [rows[number].location for number in numbers],
            words=reading.words if reading.words != "blanks" else "",
            tokenizer=lambda: _trained(rows, reading),
        )


def _order(split: str) -> tuple[int, str]:
    return {"train": 0, "val": 1}.get(split, 2), split


def _trained(rows: Sequence[Any], reading: Reading) -> Tokenizer:
    training = [row for row in rows if row.split in ("", "train")] or rows
    texts = [text for row in training for text in row.captions]
    return train(texts, vocabulary_size=_VOCABULARY, reading=reading)
