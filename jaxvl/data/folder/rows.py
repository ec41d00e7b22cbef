"""Rows of a user's captions file, metadata.jsonl or CSV, each of them checked."""

import csv
import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxvl.data.images.untrusted import BadImage, Location, inside
from jaxvl.data.text.clean import clean_caption
from jaxvl.errors import UserError

CAPTION_KEYS = ("captions", "text", "caption")
_SPLIT_NAMES = {"validation": "val", "valid": "val", "dev": "val"}
_SPLIT = re.compile(r"[a-z][a-z0-9_]*")
_MAX_CELL = 2**24


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


Found = tuple[list[Row], list[Problem]]


def read_jsonl(path: Path, images: str) -> Found:
    """Returns the rows and problems of a metadata.jsonl, as Hugging Face's imagefolder has it.

    images: the folder that the file names are relative to. Raises UserError where the file cannot
    be read.
    """
    rows: list[Row] = []
    problems: list[Problem] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        record = f"{path.name}:{number}"
        try:
            fields = json.loads(line.decode("utf-8"))
            if not isinstance(fields, dict) or not isinstance(fields.get("file_name"), str):
                raise ValueError
        except (ValueError, RecursionError):
            reason = "not a JSON object with a file_name"
            problems.append(Problem(record, "", reason))
            continue
        add_row(rows, problems, record=record, fields=fields, images=images)
    return without_repeats(rows, problems)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
    except OSError as error:
        raise UserError(f"--captions {path}: {error.strerror}") from error


def read_csv(path: Path, images: str) -> Found:
    """Returns the rows and problems of a CSV file with columns file_name and a caption.

    Several rows of one file are merged. A cell of column `captions` may be a JSON list. A column
    `split` may name the split. images: the folder that the file names are relative to.
    Raises UserError where the file cannot be read, is not CSV, or lacks a column.
    """
    merged: dict[str, tuple[str, dict[str, Any]]] = {}
    problems: list[Problem] = []
    csv.field_size_limit(_MAX_CELL)
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            table = csv.DictReader(file, strict=True)
            columns = table.fieldnames or ()
            if "file_name" not in columns or not set(CAPTION_KEYS) & set(columns):
                raise UserError(
                    f"--captions {path}: columns are {', '.join(columns) or 'missing'}; needed: "
                    f"file_name, one of {', '.join(CAPTION_KEYS)}, and maybe split"
                )
            for cells in table:
                _merge_cells(merged, problems, f"{path.name}:{table.line_num}", cells)
    except OSError as error:
        raise UserError(f"--captions {path}: {error.strerror}") from error
    except csv.Error as error:
        raise UserError(f"--captions {path}:{table.line_num}: not CSV ({error})") from error
    rows: list[Row] = []
    for record, fields in merged.values():
        add_row(rows, problems, record=record, fields=fields, images=images)
    return rows, problems


def _merge_cells(
    merged: dict[str, tuple[str, dict[str, Any]]],
    problems: list[Problem],
    record: str,
    cells: dict[Any, Any],
) -> None:
    """Adds the cells of one line to those of the same file_name."""
    if None in cells or None in cells.values():
        reason = "more or fewer cells than the header (a caption with a comma needs quotes)"
        problems.append(Problem(record, str(cells.get("file_name") or ""), reason))
        return
    fields = {
        "file_name": posixpath.normpath(cells["file_name"]) if cells["file_name"] else "",
        "captions": _cell_captions(cells),
        "split": cells.get("split", ""),
    }
    _, first = merged.setdefault(fields["file_name"], (record, fields))
    if first is fields:
        return
    if first["split"] != fields["split"]:
        reason = f"file_name appears in split {first['split']!r} already"
        problems.append(Problem(record, fields["file_name"], reason))
    else:
        first["captions"].extend(fields["captions"])


def _cell_captions(cells: dict[str, str]) -> list[Any]:
    cell = next(cells[key] for key in CAPTION_KEYS if key in cells)
    if cell.startswith("["):
        try:
            captions = json.loads(cell)
        except ValueError:
            captions = None
        if isinstance(captions, list):
            return captions
    return [cell]


def add_row(
    rows: list[Row],
    problems: list[Problem],
    *,
    record: str,
    fields: dict[str, Any],
    images: str = "",
    location: Location | None = None,
) -> None:
    """Checks the fields of one record and appends a Row, a Problem, or both.

    fields: file_name, captions | text | caption, perhaps split. images: the folder that the file
    must be in. location: where its bytes are, where it is in a tar.
    """
    file_name = posixpath.normpath(fields["file_name"]) if fields["file_name"] else ""
    captions, dropped = [], 0
    try:
        for caption in _captions(fields):
            if clean_caption(caption, max_words=1):
                captions.append(caption)
            else:
                dropped += 1
        if not captions:
            raise BadImage("empty caption")
        _check_unicode([file_name, *captions])
        split = _split(fields.get("split"))
        location = location or Location(inside(images, fields["file_name"]), 0, -1)
    except BadImage as error:
        problems.append(Problem(record, file_name, str(error)))
        return
    if dropped:
        reason = "an empty caption among others (left out, the image is kept)"
        problems.append(Problem(record, file_name, reason, left_out=False))
    rows.append(Row(record, file_name, tuple(captions), split, location))


def _captions(fields: dict[str, Any]) -> list[str]:
    found = next((fields[key] for key in CAPTION_KEYS if fields.get(key) is not None), None)
    captions = [found] if isinstance(found, str) else found
    if captions is None:
        raise BadImage("no captions (field text or captions)")
    if not isinstance(captions, list) or not all(isinstance(each, str) for each in captions):
        raise BadImage("captions are not text")
    return captions


def _check_unicode(texts: Iterable[str]) -> None:
    try:
        for text in texts:
            text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadImage("not valid Unicode text") from None


def _split(name: Any) -> str:
    if not name:
        return ""
    name = _SPLIT_NAMES.get(name, name) if isinstance(name, str) else ""
    if not _SPLIT.fullmatch(name):
        raise BadImage("split is not a name of small letters, digits and _")
    return name


def without_repeats(rows: list[Row], problems: list[Problem]) -> Found:
    """Returns rows and problems, where each row whose file_name came before is a problem."""
    first: dict[str, Row] = {}
    for row in rows:
        if first.setdefault(row.file_name, row) is not row:
            reason = f"duplicate file_name (first in {first[row.file_name].record})"
            problems.append(Problem(row.record, row.file_name, reason))
    return list(first.values()), problems


def captions_path(captions: Path | str) -> Path:
    """Returns the captions file as a Path. Raises UserError where there is none."""
    path = Path(captions)
    if not path.is_file():
        raise UserError(f"--captions {captions}: no such file")
    return path
