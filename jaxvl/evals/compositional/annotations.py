"""Reads a benchmark's published files into cases; names row and field of what has another shape."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxvl.data import text_files
from jaxvl.errors import UserError
from jaxvl.evals.compositional import fields, shuffles
from jaxvl.evals.compositional.benchmark import Benchmark

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class Case(NamedTuple):
    """One row: images, true captions, false captions.

    subset: the file it is from. images: file names. box: to crop to, or None. kinds: how each of
    the false captions was made. group: what a macro average is over.
    """

    subset: str
    images: tuple[str, ...]
    box: Box | None
    true: tuple[str, ...]
    false: tuple[str, ...]
    kinds: tuple[str, ...]
    group: str


class Annotations(NamedTuple):
    """The cases of a benchmark, and notes on what makes their scores differ from published ones.

    rows: of the files, with those that do not count (`Benchmark.keep`).
    """

    cases: list[Case]
    rows: int
    notes: list[str]


def read(benchmark: Benchmark, annotations: Path | str) -> Annotations:
    """Returns the Annotations of a benchmark's published files.

    annotations: the folder with these files, or one of them. Raises UserError naming file, row and
    field of what is not as published, and where there is no file at all.
    """
    found, absent = _find(benchmark, Path(annotations))
    cases, total, notes, differ = [], 0, [], []
    if absent:
        notes.append(f"{annotations} lacks {', '.join(absent)}: means are over the rest")
    for subset, path in found.items():
        of_subset, count = _cases(benchmark, subset, path)
        total += count
        differ += _against_published(benchmark, subset, path, count)
        if benchmark.shuffled:
            shuffled = shuffles.with_shuffles(of_subset, path)
            if len(shuffled) < len(of_subset):
                left = len(of_subset) - len(shuffled)
                notes.append(f"{path.name}: {left} captions that no shuffle changes are left out")
            of_subset = shuffled
        cases += of_subset
    if differ:
        notes.append(
            f"another edition than the published one, or not all of it: {', '.join(differ)} rows; "
            "the scores are not those of the published files"
        )
    if not cases:
        raise UserError(f"{benchmark.name}: {annotations} has no rows")
    return Annotations(cases, total, notes)


def _cases(benchmark: Benchmark, subset: str, path: Path) -> tuple[list[Case], int]:
    """Returns (cases of a file that count, number of all its rows)."""
    cases, count = [], 0
    for label, row in _rows(benchmark.name, path):
        try:
            for flat in benchmark.unfold(row):
                count += 1
                if benchmark.keep(flat):
                    cases.append(_case(benchmark, subset, flat))
        except fields.BadField as error:
            raise UserError(f"{benchmark.name}: {path}, row {label} {error}") from None
    return cases, count


def _find(benchmark: Benchmark, annotations: Path) -> tuple[dict[str, Path], list[str]]:
    """Returns ({subset: path}, names of files that are not there)."""
    name, files = benchmark.name, benchmark.files
    wanted = ", ".join(files.values())
    if annotations.is_file():
        subsets = [subset for subset, file in files.items() if file == annotations.name]
        if len(files) > 1 and not subsets:
            raise UserError(f"{name}: {annotations} is none of its published files: {wanted}")
        return {(subsets or list(files))[0]: annotations}, []
    if not annotations.is_dir():
        raise UserError(f"{name}: there is no folder or file {annotations}")
    found: dict[str, Path] = {}
    absent = []
    for subset, file in files.items():
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


def _rows(name: str, path: Path) -> list[tuple[Any, Any]]:
    """Returns (label, row) pairs of a JSON list or object, or of JSON lines."""
    try:
        content = text_files.read_text(path)
        if path.suffix == ".jsonl":
            # Not splitlines: a text may hold other line ends, such as U+2028.
            lines = [line for line in content.split("\n") if line.strip()]
            return [(number, json.loads(line)) for number, line in enumerate(lines, 1)]
        rows = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{name}: {path} cannot be read as JSON: {error}") from None
    if isinstance(rows, dict):
        return list(rows.items())
    if isinstance(rows, list):
        return list(enumerate(rows))
    raise UserError(f"{name}: {path} holds one value, not a list or an object of rows")


def _case(benchmark: Benchmark, subset: str, row: Mapping) -> Case:
    return Case(
        subset=subset,
        images=tuple(
            fields.image_name(row, field, benchmark.image_name) for field in benchmark.images
        ),
        box=fields.box(row) if benchmark.box else None,
        true=tuple(fields.text(row, field) for field in benchmark.true),
        false=tuple(fields.text(row, field) for field in benchmark.false),
        kinds=(subset,) * len(benchmark.false),
        group=benchmark.group(row) if benchmark.group else "",
    )


def _against_published(benchmark: Benchmark, subset: str, path: Path, count: int) -> list[str]:
    """Returns [how many rows there are of those published] where the two numbers differ."""
    published = benchmark.published.get(subset, count)
    return [] if count == published else [f"{path.name} {count} of {published}"]
