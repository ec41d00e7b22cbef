"""A directory of negatives: text that a person can search, read by random access.

negatives.json     which data set (fingerprint, number of examples a split), kinds, filler,
                   seed, version of the generator, counts
SPLIT.jsonl        one line a caption, in order: {"example", "caption", "text", "negatives"};
                   `negatives` has one item a kind, null where there is none, else
                   {"type", "text", "span", "out", "in", "filler", "score", "seed"}:
                   characters of the caption, the words there and those put in their place
SPLIT.index.npz    line: int64, where each line begins, and the end of the file;
                   first: int64, number of the first line of each example, and of all lines
vocabulary.json    the statistics of the captions that words were drawn from
"""

import io
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvl.errors import UserError

META_FILE = "negatives.json"
VOCABULARY_FILE = "vocabulary.json"
FORMAT_VERSION = 1


def read_meta(directory):
    """The contents of negatives.json. Raises UserError where there are no negatives."""
    path = Path(directory) / META_FILE
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
            f"{FORMAT_VERSION}; make the negatives anew"
        )
    return meta


def index_of(lines, count):
    """The bytes of SPLIT.index.npz for `count` examples.

    lines: (example, length of the line in bytes), in order.
    """
    examples, lengths = np.array(lines, np.int64).reshape(-1, 2).T
    line = np.concatenate([[0], np.cumsum(lengths)])
    first = np.searchsorted(examples, np.arange(count + 1))
    stored = io.BytesIO()
    np.savez(stored, line=line.astype(np.int64), first=first.astype(np.int64))
    return stored.getvalue()


def reader(directory, *, split, splits):
    """read(example, caption) of a split, which may be an expression such as "train+val[:10%]".

    splits: {name: number of examples}. Raises UserError for a split or a file that is not there.
    """
    parts = [
        (_open(Path(directory), name, splits[name]), start, stop)
        for name, start, stop in _ranges(directory, split, splits)
    ]
    ends = np.cumsum([stop - start for _, start, stop in parts])

    def read(example, caption):
        found = []
        for e, c in zip(np.asarray(example).tolist(), np.asarray(caption).tolist(), strict=True):
            k = int(np.searchsorted(ends, e, side="right"))
            stored, start, stop = parts[k]
            found.append(_texts(stored, start + e - (int(ends[k]) - (stop - start)), c))
        return found

    return read


class _Split(NamedTuple):
    path: Path
    content: np.ndarray  # bytes, mapped from disk
    line: np.ndarray
    first: np.ndarray


def _texts(stored, example, caption):
    row = int(stored.first[example]) + caption
    start, stop = stored.line[row : row + 2]
    entry = json.loads(stored.content[start:stop].tobytes())
    if (entry["example"], entry["caption"]) != (example, caption):
        raise UserError(
            f"{stored.path}: line {row + 1} is not of caption {caption} of example {example}; "
            "make the negatives anew"
        )
    return [each["text"] if each else "" for each in entry["negatives"]]


def _open(directory, name, examples):
    path = directory / f"{name}.jsonl"
    try:
        with np.load(directory / f"{name}.index.npz", allow_pickle=False) as index:
            line, first = index["line"], index["first"]
        size = path.stat().st_size
        content = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: unreadable ({error}); make the negatives anew") from None
    if size != line[-1] or len(first) != examples + 1:
        raise UserError(f"{path}: not what {META_FILE} describes; make the negatives anew")
    return _Split(path, content, line, first)


def _ranges(directory, split, splits):
    """(name, first example, end) of what a split expression names."""
    if split in splits:
        return [(split, 0, splits[split])]
    import tensorflow_datasets as tfds

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
