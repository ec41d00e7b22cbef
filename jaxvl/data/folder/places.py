"""The files that --captions names: one, a folder of them, a glob, or names with braces."""

import glob
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxvl.errors import UserError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
PARQUET = (".parquet",)
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab")
_METADATA = ("metadata.jsonl", "metadata.csv")  # of Hugging Face's imagefolder
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_MOST = 1_000_000


class Places(NamedTuple):
    """Files of one kind. files: {name in messages and in file names: path}. missing: names."""

    kind: tuple[str, ...]  # TARS, PARQUET or TABLES
    files: dict[str, Path]
    missing: list[str]


def find(captions: Path | str) -> Places:
    """Returns the Places that --captions names. Raises UserError, saying what is there, for none.

    A folder stands for the tars in it and below it, or else for its parquet files, or else for its
    metadata.jsonl or metadata.csv.
    """
    root = Path(captions)
    if root.is_dir():
        return _in_folder(root)
    if root.is_file():
        paths, missing = [root], []
    else:
        paths, missing = _named(str(captions))
    for kind in (TARS, PARQUET, TABLES):
        chosen = [path for path in paths if path.name.lower().endswith(kind)]
        if chosen and (kind is not TABLES or len(chosen) == 1):
            return Places(kind, _labelled(chosen), missing)
    if not paths:
        raise UserError(f"--captions {captions}: no such file, and no file of that pattern")
    named = ", ".join(sorted({path.name for path in paths})[:5])
    several = "one table at a time" if len(paths) > 1 else ""
    ends = f"must end in {', '.join(TABLES)}, .parquet or .tar"
    raise UserError(f"--captions {captions}: {several or ends}; found: {named}")


def _in_folder(root: Path) -> Places:
    for kind in (TARS, PARQUET):
        paths = [path for path in root.rglob("*") if path.name.lower().endswith(kind)]
        paths = sorted(path for path in paths if path.is_file() and path.name[0] != ".")
        if paths:
            labels = {path.relative_to(root).as_posix(): path for path in paths}
            return Places(kind, labels, [])
    tables = [root / name for name in _METADATA if (root / name).is_file()]
    if tables:
        return Places(TABLES, {tables[0].name: tables[0]}, [])
    there = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
    raise UserError(
        f"--captions {root}: a folder without tars, parquet files or {_METADATA[0]} in it or below "
        f"it; it has: {there}; name the table itself"
    )


def _named(pattern: str) -> tuple[list[Path], list[str]]:
    """Returns (files, names that are not there) of a pattern with braces, wildcards or neither."""
    paths, missing = [], []
    for name in _expanded(pattern):
        found = [Path(each) for each in sorted(glob.glob(name)) if Path(each).is_file()]
        if not found and Path(name).is_file():  # its name holds [ or *
            found = [Path(name)]
        paths += found
        missing += [] if found else [name]
    return list(dict.fromkeys(paths)), missing if paths else []


def _expanded(pattern: str) -> Iterator[str]:
    """Yields the names of s-{000..002}.tar or {a,b}.tar, as a shell does."""
    parts = []
    rest = pattern
    while found := _BRACES.search(rest):
        parts += [[rest[: found.start()]], _choices(found[1], pattern)]
        rest = rest[found.end() :]
    for names in itertools.islice(itertools.product(*parts, [rest]), _MOST):
        yield "".join(names)


def _choices(inside: str, pattern: str) -> list[str]:
    numbers = _RANGE.fullmatch(inside)
    if not numbers:
        return inside.split(",")
    first, last = numbers.groups()
    if abs(int(last) - int(first)) >= _MOST:
        raise UserError(f"--captions {pattern}: more than {_MOST:,} files")
    step = 1 if int(last) >= int(first) else -1
    return [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + step, step)]


def _labelled(paths: list[Path]) -> dict[str, Path]:
    """Returns {label: path}: the file's name, or, where two have the same, more of its path."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
    return dict(zip(labels, paths))
