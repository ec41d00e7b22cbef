"""A directory of negatives: searchable text with an index for random access.

negatives.json     the data set (fingerprint, number of examples of each split), kinds, filler with
                   its options, seed, version of the generator, counts
SPLIT.jsonl        one line for each caption, in order: {"example", "caption", "text", "negatives"};
                   `negatives` has one item for each kind: null, or
                   {"type", "text", "span", "out", "in", "filler", "score", "seed"}.
                   span: characters of the caption; out, in: the words there and their replacements
SPLIT.index.npz    line: int64, the offset of each line, and the size of the file;
                   first: int64, the number of the first line of each example, and of all lines
vocabulary.json    the statistics of the captions that words were drawn from
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvl import copies, paths
from jaxvl.errors import UserError

META_FILE = "negatives.json"
VOCABULARY_FILE = "vocabulary.json"
FORMAT_VERSION = 1


class Negatives(NamedTuple):
    """Hard negatives of one split; n captions are asked for, and there are K kinds.

    kinds: the K columns.
    read: (example, caption), int [n] each: the record's place in the split and the caption's in the
      record -> list of n lists of K str, "" where there is none. Several threads may call it.
    """

    kinds: tuple[str, ...]
    read: Callable[[Sequence[int], Sequence[int]], list[list[str]]]


def open_negatives(directory: Path | str, *, fingerprint: str, kinds: Sequence[str]) -> Negatives:
    """Returns the negatives that `jaxvl negatives` wrote.

    fingerprint: of the `Source` that they are for. kinds: the expected columns, in order.
    Raises UserError where there are none, for another data set, or other kinds.
    """
    kinds = tuple(kinds)
    meta = read_meta(directory)
    if tuple(meta["kinds"]) != kinds:
        raise UserError(
            f"{directory}: holds {len(meta['kinds'])} negatives a caption "
            f"({', '.join(meta['kinds'])}), data.negative_kinds asks for {len(kinds)} "
            f"({', '.join(kinds)}); set data.negative_kinds to the kinds that are there"
        )
    data_set, _, split = fingerprint.partition(":")
    if meta["fingerprint"] != data_set:
        raise UserError(
            f"{directory}: made for another data set ({meta['data']}, {meta['fingerprint'][:8]}, "
            f"not {data_set[:8]}); make new ones with "
            f"`jaxvl negatives --data ... --out {directory}`"
        )
    return Negatives(kinds, reader(directory, split=split, splits=meta["splits"]))


def read_meta(directory: Path | str) -> dict[str, Any]:
    """Returns the contents of negatives.json. Raises UserError where there are no negatives."""
    path = paths.of(directory) / META_FILE
    try:
        meta = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{directory}: no hard negatives here (no {META_FILE}); make them with "
            f"`jaxvl negatives --data DIR --out {directory}`"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: unreadable ({error})") from None
    if meta.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path}: format {meta.get('format_version')}, this version of jaxvl reads "
            f"{FORMAT_VERSION}; make the negatives again"
        )
    return meta


def index_of(lines: Sequence[tuple[int, int]], count: int) -> bytes:
    """Returns the contents of SPLIT.index.npz for `count` examples.

    lines: (example, length of the line in bytes), in order.
    """
    examples, lengths = np.array(lines, np.int64).reshape(-1, 2).T
    line = np.concatenate([[0], np.cumsum(lengths)])
    first = np.searchsorted(examples, np.arange(count + 1))
    stored = io.BytesIO()
    np.savez(stored, line=line.astype(np.int64), first=first.astype(np.int64))
    return stored.getvalue()


def reader(
    directory: Path | str, *, split: str, splits: Mapping[str, int]
) -> Callable[[Sequence[int], Sequence[int]], list[list[str]]]:
    """Returns `Negatives.read` of a split, which may be an expression such as "train+val[:10%]".

    splits: {name: number of examples}. Raises UserError for a missing split or file.
    """
    ranges = _ranges(directory, split, splits)
    needed = [f"{name}.{end}" for name, _, _ in ranges for end in ("jsonl", "index.npz")]
    folder = copies.local(directory, only=needed)
    parts = [(_open(folder, name, splits[name]), start, stop) for name, start, stop in ranges]
    ends = np.cumsum([stop - start for _, start, stop in parts])

    def read(example: Sequence[int], caption: Sequence[int]) -> list[list[str]]:
        found = []
        for e, c in zip(np.asarray(example).tolist(), np.asarray(caption).tolist(), strict=True):
            k = int(np.searchsorted(ends, e, side="right"))
            stored, start, stop = parts[k]
            found.append(_texts(stored, start + e - (int(ends[k]) - (stop - start)), c))
        return found

    return read


class _Split(NamedTuple):
    path: Path
    content: np.ndarray  # the bytes of the file, mapped from disk
    line: np.ndarray
    first: np.ndarray


def _texts(stored: _Split, example: int, caption: int) -> list[str]:
    row = int(stored.first[example]) + caption
    start, stop = stored.line[row : row + 2]
    entry = json.loads(stored.content[start:stop].tobytes())
    if (entry["example"], entry["caption"]) != (example, caption):
        raise UserError(
            f"{stored.path}: line {row + 1} is not of caption {caption} of example {example}; "
            "make the negatives again"
        )
    return [each["text"] if each else "" for each in entry["negatives"]]


def _open(directory: Path, name: str, examples: int) -> _Split:
    path = directory / f"{name}.jsonl"
    try:
        with np.load(directory / f"{name}.index.npz", allow_pickle=False) as index:
            line, first = index["line"], index["first"]
        size = path.stat().st_size
        content = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: unreadable ({error}); make the negatives again") from None
    if size != line[-1] or len(first) != examples + 1:
        raise UserError(
            f"{path}: does not have the size that {META_FILE} gives; make the negatives again"
        )
    return _Split(path, content, line, first)


def _ranges(
    directory: Path | str, split: str, splits: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    """Returns (split, first example, end) of each part of a split expression."""
    if split in splits:
        return [(split, 0, splits[split])]
    from jaxvl.data.host_tf import tfds

    infos = {
        name: tfds.core.SplitInfo(name=name, shard_lengths=[count], num_bytes=0)
        for name, count in splits.items()
    }
    try:
        wanted = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except (ValueError, NotImplementedError) as error:
        raise UserError(
            f"{directory}: no negatives for split {split!r}; there are: {', '.join(splits)}"
        ) from error
    return [
        (each.splitname, each.from_ or 0, splits[each.splitname] if each.to is None else each.to)
        for each in wanted
    ]
