"""Reads a benchmark's published files into cases; names row and field of what has another shape."""

import json
from pathlib import Path
from typing import NamedTuple

from jaxvl.errors import UserError
from jaxvl.evals.compositional import fields, shuffles


class Case(NamedTuple):
    """One row: pictures, true captions, false captions.

    subset: the file it is from. pictures: file names. box: to crop to, or None. kinds: how each of
    the false captions came about. group: what a macro average is over.
    """

    subset: str
    pictures: tuple
    box: tuple | None
    true: tuple
    false: tuple
    kinds: tuple
    group: str


class Reading(NamedTuple):
    """The cases of a benchmark, and notes on what makes their figures differ from published ones.

    rows: of the files, those included that do not count (`Format.keep`).
    """

    cases: list
    rows: int
    notes: list


def read(name, table, annotations):
    """Returns the Reading of benchmark `name` from its published files, as its Format says.

    annotations: the folder with these files, or one of them. Raises UserError naming file, row and
    field of what is not as published, and where there is no file at all.
    """
    found, absent = _find(name, table, Path(annotations))
    cases, total, notes, short = [], 0, [], []
    if absent:
        notes.append(f"{annotations} lacks {', '.join(absent)}: means are over the rest")
    for subset, path in found.items():
        rows = _rows(name, path)
        of_subset, count = [], 0
        for label, row in rows:
            try:
                for flat in table.unfold(row):
                    count += 1
                    if table.keep(flat):
                        of_subset.append(_case(table, subset, flat))
            except fields.BadField as error:
                raise UserError(f"{name}: {path}, row {label} {error}") from None
        total += count
        short += _against_published(name, table, subset, path, count)
        if table.shuffled:
            shuffled = shuffles.with_shuffles(of_subset, path)
            if len(shuffled) < len(of_subset):
                left = len(of_subset) - len(shuffled)
                notes.append(f"{path.name}: {left} captions that no shuffle changes are left out")
            of_subset = shuffled
        cases += of_subset
    if short:
        notes.append(f"not all published rows are there: {', '.join(short)}")
    if not cases:
        raise UserError(f"{name}: {annotations} has no rows")
    return Reading(cases, total, notes)


def _find(name, table, annotations):
    """Returns ({subset: path}, names of files that are not there)."""
    wanted = ", ".join(table.files.values())
    if annotations.is_file():
        subsets = [subset for subset, file in table.files.items() if file == annotations.name]
        if len(table.files) > 1 and not subsets:
            raise UserError(f"{name}: {annotations} is none of its published files: {wanted}")
        return {(subsets or list(table.files))[0]: annotations}, []
    if not annotations.is_dir():
        raise UserError(f"{name}: there is no folder or file {annotations}")
    found, absent = {}, []
    for subset, file in table.files.items():
        if "*" in file:
            paths = {
                "_".join(path.relative_to(annotations).with_suffix("").parts): path
                for path in sorted(annotations.glob(file))
            }
        else:
            paths = {subset: annotations / file} if (annotations / file).is_file() else {}
        found |= paths
        absent += [] if paths else [file]
    if not found:
        raise UserError(f"{name}: {annotations} has none of its published files: {wanted}")
    return found, absent


def _rows(name, path):
    """Returns (label, row) pairs of a JSON list or object, or of JSON lines."""
    try:
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            lines = [line for line in content.splitlines() if line.strip()]
            return [(number, json.loads(line)) for number, line in enumerate(lines, 1)]
        rows = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{name}: {path} cannot be read as JSON: {error}") from None
    if isinstance(rows, dict):
        return list(rows.items())
    if isinstance(rows, list):
        return list(enumerate(rows))
    raise UserError(f"{name}: {path} holds one value, not a list or an object of rows")


def _case(table, subset, row):
    return Case(
        subset=subset,
        pictures=tuple(
            fields.picture_name(row, field, table.picture_name) for field in table.pictures
        ),
        box=fields.box(row) if table.box else None,
        true=tuple(fields.text(row, field) for field in table.true),
        false=tuple(fields.text(row, field) for field in table.false),
        kinds=(subset,) * len(table.false),
        group=table.group(row) if table.group else "",
    )


def _against_published(name, table, subset, path, count):
    """Returns [what is there] where rows are missing. Raises UserError where there are too many."""
    published = table.published.get(subset, count)
    if count > published:
        raise UserError(
            f"{name}: {path} has {count} rows, the published file {published}; is it another's?"
        )
    if count == published:
        return []
    return [f"{path.name} {count} of {published}"]
