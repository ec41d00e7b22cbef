"""Lists of records, or of single captions, that a user leaves out of a data set on purpose."""

import collections
import json
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from jaxvl import files
from jaxvl.data.folder.rows import Found, Problem, Row
from jaxvl.errors import UserError

_FIELDS = {"file_name", "caption", "reason"}


class Exclusion(NamedTuple):
    """What is left out: a record, or one of its captions.

    line: of the list. caption: as it is written; None for the whole record. reason: in words, with
    details in brackets.
    """

    line: int
    file_name: str
    caption: str | None
    reason: str


def write(path: Path | str, exclusions: Iterable[Exclusion]) -> None:
    """Writes a list that `read` reads: one JSON object a line; `line` is not written."""
    lines = [
        json.dumps({name: each[name] for name in ("file_name", "caption", "reason") if each[name]})
        for each in (one._asdict() for one in exclusions)
    ]
    files.write_text(path, "".join(f"{line}\n" for line in lines))


def read(path: Path | str) -> list[Exclusion]:
    """Returns the Exclusions of a file: a file name a line, or JSON objects as `write` writes them.

    Raises UserError naming the line that is neither.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"--exclude {path}: cannot be read ({error})") from None
    return [
        _parsed(line.strip(), f"--exclude {path}: line {number}", number)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _parsed(line: str, place: str, number: int) -> Exclusion:
    if not line.startswith("{"):
        return Exclusion(number, posixpath.normpath(line), None, "listed")
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(f"{place} is not JSON; give a file name or a JSON object") from None
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown or not all(isinstance(value, str) for value in fields.values()):
        named = f"has no field {unknown[0]!r}" if unknown else "has a value that is no text"
        raise UserError(f"{place} {named}; fields are {', '.join(sorted(_FIELDS))}, all texts")
    if not fields.get("file_name"):
        raise UserError(f"{place} has no file_name")
    name = posixpath.normpath(fields["file_name"])
    return Exclusion(number, name, fields.get("caption"), fields.get("reason") or "listed")


def apply(found: Found, exclusions: Iterable[Exclusion], path: Path | str) -> dict[str, Any]:
    """Takes records and captions out of `found`, which notes them; returns their numbers.

    path: of the list, for the error. A record without a caption left is taken out, too.
    The numbers: records, captions (of records that stay), and records and captions by reason.
    Raises UserError naming the line of an exclusion that names nothing in `found`.
    """
    rows = {row.file_name: row for row in found.rows}
    bad = {problem.file_name for problem in found.problems if problem.left_out}
    whole: dict[str, Exclusion] = {}
    captions: dict[str, dict[str, Exclusion]] = collections.defaultdict(dict)
    for each in exclusions:
        row = rows.get(each.file_name)
        if row is None and each.file_name not in bad:
            raise _nothing(path, each, f"no record {each.file_name!r}")
        if row is None:
            continue  # it is left out already
        if each.caption is None:
            whole.setdefault(each.file_name, each)
        elif each.caption in row.captions:
            captions[each.file_name].setdefault(each.caption, each)
        else:
            raise _nothing(path, each, f"{each.file_name!r} has no caption {each.caption!r}")
    kept, records, lines = [], 0, collections.Counter()
    for row in found.rows:
        left, reasons = _left(row, whole.get(row.file_name), captions[row.file_name])
        lines.update(reason.split(" (")[0] for reason in reasons)
        records += not left
        for reason in reasons:
            what = "excluded as" if not left else "a caption is excluded as"
            problem = Problem(row.record, row.file_name, f"{what} {reason}", left_out=not left)
            found.problems.append(problem)
        if left:
            kept.append(row._replace(captions=left))
    found.rows[:] = kept
    stay = sum(len(captions[row.file_name]) for row in kept)
    reasons = dict(sorted(lines.items(), key=lambda item: (-item[1], item[0])))
    return {"records": records, "captions": stay, "reasons": reasons}


def _left(
    row: Row, whole: Exclusion | None, captions: dict[str, Exclusion]
) -> tuple[tuple[str, ...], list[str]]:
    """Returns (the captions that stay, why the others do not); one reason for a whole record."""
    if whole is not None:
        return (), [whole.reason]
    left = tuple(caption for caption in row.captions if caption not in captions)
    reasons = [each.reason for each in captions.values()]
    return left, reasons if left else reasons[:1]


def _nothing(path: Path | str, each: Exclusion, what: str) -> UserError:
    return UserError(
        f"--exclude {path}: line {each.line}: {what} in --captions; it was made for other data, or "
        "take the line out"
    )
