"""Rows of a user's table or tars, each of them checked."""

import functools
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jaxvl.data.folder import cells, columns
from jaxvl.data.images.untrusted import BadImage, Location, MissingFile, inside
from jaxvl.data.text.clean import clean_caption

_SPLIT_NAMES = {
    **dict.fromkeys(("training", "restval"), "train"),  # restval: Karpathy's; papers train on it
    **dict.fromkeys(("validation", "valid", "dev"), "val"),
    "testing": "test",
}
_SPLIT = re.compile(r"[a-z][a-z0-9_]*")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Row(NamedTuple):
    """An image with its captions.

    record: the line or tar member that names it, for messages. split: "" where it says none.
    """

    record: str
    file_name: str
    captions: tuple[str, ...]
    split: str
    location: Location


class Problem(NamedTuple):
    """A line of the report. left_out: False where the record is kept nevertheless."""

    record: str
    file_name: str
    reason: str
    left_out: bool = True


class Record(NamedTuple):
    """The values of a record as its table has them; None for those that it does not have."""

    file_name: Any
    captions: Any
    split: Any


class Found(NamedTuple):
    """What was read so far.

    splits: {name of a split as it was given: as it is stored}, where they differ. unused: columns
    that were not read.
    """

    rows: list[Row]
    problems: list[Problem]
    splits: dict[str, str]
    unused: dict[str, None]


def nothing() -> Found:
    """Returns a Found of nothing, to be filled."""
    _listing.cache_clear()  # folders may have changed since the last time
    return Found([], [], {}, {})


def add_row(
    found: Found,
    *,
    record: str,
    row: Record,
    images: str = "",
    location: Location | None = None,
) -> None:
    """Checks one record and appends a Row, Problems, or both.

    record: its line or tar member. row: file_name is a string; captions, a text or a list of texts.
    images: the folder that the file must be in. location: where its bytes are, where that is known.
    """
    file_name, captions, split = row
    name = posixpath.normpath(file_name) if file_name else ""
    kept, dropped = [], 0
    try:
        for caption in _captions(captions):
            if clean_caption(caption, max_words=1):
                kept.append(caption)
            else:
                dropped += 1
        if not kept:
            raise BadImage("empty caption")
        _check_unicode([name, *kept])
        stored_split = _split(found, split)
        if location is None:
            name, path = _locate(images, file_name)
            location = Location(path, 0, -1)
    except BadImage as error:
        found.problems.append(Problem(record, name, str(error)))
        return
    notes = ["an empty caption among others (left out, the image is kept)"] if dropped else []
    if any(map(cells.looks_personal, kept)):
        notes.append("a caption that looks like an e-mail address or a telephone number")
    found.problems.extend(Problem(record, name, note, left_out=False) for note in notes)
    found.rows.append(Row(record, name, tuple(kept), stored_split, location))


def _captions(given: Any) -> list[str]:
    if given is None:
        raise BadImage("no captions (field text or captions)")
    captions = [given] if isinstance(given, str) else given
    if not isinstance(captions, list) or not all(isinstance(each, str) for each in captions):
        raise BadImage("captions are not text")
    lists = [cells.captions_of(caption) for caption in captions]
    if any(texts is None for texts in lists):
        raise BadImage("captions look like a list that cannot be read (as JSON or of Python)")
    flat = [text for texts in lists for text in texts or ()]
    if not all(isinstance(each, str) for each in flat):
        raise BadImage("captions are not text")
    return flat


def _check_unicode(texts: Iterable[str]) -> None:
    try:
        for text in texts:
            text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadImage("not valid Unicode text (save the table as UTF-8)") from None


def _split(found: Found, given: Any) -> str:
    if not given:
        return ""
    name = given.strip().lower() if isinstance(given, str) else ""
    name = _SPLIT_NAMES.get(name, name)
    if not _SPLIT.fullmatch(name):
        raise BadImage(f"split is not a name of small letters, digits and _ ({given!r})")
    if name != given:
        found.splits[given] = name
    return name


def _locate(images: str, file_name: str) -> tuple[str, str]:
    """Returns (file name relative to the folder, path) of an image.

    Raises BadImage where it is not in the folder.
    """
    missing = None
    for name in _names(images, file_name):
        try:
            return posixpath.normpath(name), inside(images, name)
        except MissingFile as error:
            missing = missing or error
    if _DRIVE.match(file_name):
        raise BadImage("a path with a drive of Windows (make it relative to --images)")
    assert missing is not None
    raise missing


def _names(images: str, file_name: str) -> Iterator[str]:
    """Yields the names that a file may have: as given, and as other systems write it."""
    root = os.path.abspath(images)
    if os.path.isabs(file_name) and os.path.normpath(file_name).startswith(f"{root}{os.sep}"):
        file_name = os.path.relpath(os.path.normpath(file_name), root)
    yield file_name
    slashes = file_name.replace("\\", "/")
    if slashes != file_name:
        yield slashes
    folder, _, rest = slashes.removeprefix("./").partition("/")
    if rest and folder == os.path.basename(root):
        yield rest
    for name in {slashes: None, rest: None}:
        there = _as_on_disk(images, name) if name and not name.isascii() else ""
        if there:
            yield there


def _as_on_disk(images: str, name: str) -> str:
    """Returns the name of an existing file whose letters are composed in another way, or ""."""
    parts: list[str] = []
    for part in posixpath.normpath(name).split("/"):
        there = _listing(os.path.join(images, *parts)).get(unicodedata.normalize("NFC", part))
        if there is None:
            return ""
        parts.append(there)
    return "/".join(parts)


@functools.lru_cache(maxsize=64)
def _listing(folder: str) -> dict[str, str]:
    try:
        return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}
    except OSError:
        return {}


def without_repeats(found: Found) -> None:
    """Makes each row whose file_name came before a problem."""
    first: dict[str, Row] = {}
    for row in found.rows:
        if first.setdefault(row.file_name, row) is not row:
            reason = f"duplicate file_name (first in {first[row.file_name].record})"
            found.problems.append(Problem(row.record, row.file_name, reason))
    found.rows[:] = first.values()


def record_of(found: Found, fields: dict[str, Any]) -> Record:
    """Returns the Record of named values, and notes in `found` which of them are not read."""
    there = columns.choose(tuple(n for n, value in fields.items() if value is not None))
    found.unused.update(dict.fromkeys(there.unused))
    values = [fields[name] for name in there.captions]
    captions = values[0] if values else None
    if len(values) > 1:
        captions = []
        for value in values:  # of numbered columns, those at the end are empty for some rows
            captions += value if isinstance(value, list) else [value] if value != "" else []
    file_name = fields[there.file] if there.file else None
    return Record(file_name, captions, fields[there.split] if there.split else None)
