"""Rows of a user's table: JSON lines, a JSON list, CSV or TSV."""

import csv
import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from jaxvl.data import text_files
from jaxvl.data.folder import columns, rows
from jaxvl.data.folder.rows import Found, Problem, Record
from jaxvl.errors import UserError

_SEPARATORS = (",", "\t", ";", "|")
_MAX_CELL = 2**24
_NO_OBJECT = "not a JSON object with a file_name"


def read_jsonl(path: Path, images: str) -> Found:
    """Returns the rows and problems of a metadata.jsonl, as Hugging Face's imagefolder has it.

    images: the folder that the file names are relative to. Raises UserError where the file cannot
    be read.
    """
    found = rows.nothing()
    with _opened(path) as file:
        # Line ends are those of JSON lines alone; a text may hold others, such as U+2028.
        for number, line in enumerate(file, start=1):
            if line.strip():
                record = f"{path.name}:{number}"
                try:
                    fields = json.loads(line)
                except (ValueError, RecursionError):
                    fields = None
                _add_object(found, record, fields, images)
    rows.without_repeats(found)
    return found


def read_json(path: Path, images: str) -> Found:
    """Returns the rows and problems of a JSON file; records of the same file_name are merged.

    It is a list of objects, or one object {file_name: caption or captions}. images: as above.
    Raises UserError where it is something else, or cannot be read.
    """
    try:
        content = json.loads(text_files.read_text(path))
    except OSError as error:
        raise UserError(f"--captions {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):
            return read_jsonl(path, images)
        raise UserError(f"--captions {path}: not JSON ({error})") from None
    if isinstance(content, dict) and all(_is_captions(value) for value in content.values()):
        content = [{"file_name": name, "captions": texts} for name, texts in content.items()]
    if not isinstance(content, list):
        keys = columns.quoted(content) if isinstance(content, dict) else repr(content)[:60]
        raise UserError(
            f"--captions {path}: needed is a list of objects with {columns.WANTED}, or an object "
            f"{{file_name: captions}}; found: {keys}"
        )
    found, merged = rows.nothing(), _Merged()
    for number, fields in enumerate(content):
        _add_object(found, f"{path.name}[{number}]", fields, images, add=merged.add)
    merged.finish(found, images)
    return found


def _is_captions(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return bool(texts) and all(isinstance(text, str) for text in texts)


def _add_object(
    found: Found, record: str, fields: Any, images: str, *, add: Callable | None = None
) -> None:
    """Adds the row of a JSON object, by `add` where it is given, or the problem that it is."""
    if not isinstance(fields, dict):
        found.problems.append(Problem(record, "", _NO_OBJECT))
        return
    row = rows.record_of(found, fields)
    if not isinstance(row.file_name, str):
        reason = f"{_NO_OBJECT} (its keys: {columns.quoted(fields)})"
        found.problems.append(Problem(record, "", reason))
    elif add:
        add(found, record, row)
    else:
        rows.add_row(found, record=record, row=row, images=images)


def read_csv(path: Path, images: str) -> Found:
    """Returns the rows and problems of a CSV or TSV file with columns file_name and a caption.

    Several rows of one file are merged. A cell may hold a list as JSON or as Python prints it. A
    column `split` may name the split. images: the folder that the file names are relative to.
    Raises UserError where the file cannot be read, is not CSV, or lacks a column.
    """
    try:
        return _read_csv(path, images, quoting=csv.QUOTE_MINIMAL)
    except csv.Error as error:
        if _separator(path)[0] == "\t":  # TSV has quotes as ordinary letters, or as CSV has them
            return _read_csv(path, images, quoting=csv.QUOTE_NONE)
        raise UserError(f"--captions {path}:{error.args[-1]}: not CSV ({error.args[0]})") from None


def _read_csv(path: Path, images: str, *, quoting: Any) -> Found:
    separator, lines_before, padded = _separator(path)
    found, merged = rows.nothing(), _Merged()
    csv.field_size_limit(_MAX_CELL)
    with _opened(path) as file:
        for _ in range(lines_before):
            next(file)
        table = csv.reader(
            file, strict=True, delimiter=separator, quoting=quoting, skipinitialspace=padded
        )
        try:
            header = next(table)
            for cells in table:
                if cells:
                    record = f"{path.name}:{table.line_num + lines_before}"
                    _add_cells(found, merged, record, header, cells, padded)
        except csv.Error as error:
            raise csv.Error(str(error), table.line_num + lines_before) from None
    merged.finish(found, images)
    return found


def _separator(path: Path) -> tuple[str, int, bool]:
    """Returns (separator, lines before the header, whether cells have blanks around them).

    The separator is the one with which the first line names the columns. Raises UserError where
    none does.
    """
    with _opened(path) as file:
        first, before = file.readline(), 0
        told = re.fullmatch(r"sep=(.)\s*", first)  # of Excel
        if told:
            first, before = file.readline(), 1
    for separator in [told[1]] if told else _SEPARATORS:
        names = _cells(first, separator)
        there = columns.choose(tuple(names))
        if there.file and there.captions:
            return separator, before, any(name != name.strip() for name in names)
    likely = max(_SEPARATORS, key=first.count)
    there = columns.quoted(_cells(first, likely))
    raise UserError(
        f"--captions {path}: columns are {there}, separated by {likely!r}; needed: {columns.WANTED}"
        ", and maybe split; the first line must name them"
    )


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])
    except csv.Error:
        return []


def _add_cells(
    found: Found, merged: "_Merged", record: str, header: list[str], cells: list[str], padded: bool
) -> None:
    """Adds the cells of one line to those of the same file_name."""
    fields = dict(zip(header, map(str.strip, cells) if padded else cells))
    row = rows.record_of(found, {name: "" for name in header} | fields)
    if len(cells) != len(header):
        reason = (
            f"more or fewer cells than the header ({len(cells)}, not {len(header)}; a caption "
            "with a separator in it needs quotes)"
        )
        found.problems.append(Problem(record, row.file_name, reason))
    else:
        merged.add(found, record, row)


class _Merged:
    """Records of which several may be of one file: their captions become those of one row."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, Record]] = {}

    def add(self, found: Found, record: str, row: Record) -> None:
        """Adds a record, or the problem that it is in another split than the ones before."""
        name = posixpath.normpath(row.file_name) if row.file_name else ""
        captions = row.captions if isinstance(row.captions, list) else [row.captions]
        _, first = self._rows.setdefault(name, (record, row._replace(captions=[])))
        if first.split != row.split:
            reason = f"file_name appears in split {first.split!r} already"
            found.problems.append(Problem(record, name, reason))
        else:
            first.captions.extend(captions)

    def finish(self, found: Found, images: str) -> None:
        """Adds the rows."""
        for record, row in self._rows.values():
            row = row._replace(captions=None) if row.captions == [None] else row
            rows.add_row(found, record=record, row=row, images=images)


def _opened(path: Path) -> TextIO:
    try:
        return text_files.open_text(path)
    except OSError as error:
        raise UserError(f"--captions {path}: {error.strerror}") from error


READERS: dict[str, Callable[[Path, str], Found]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".tab": read_csv,
}
