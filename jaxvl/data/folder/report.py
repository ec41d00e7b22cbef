"""The report of what became of each record, and the summary of it for the terminal."""

import collections
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jaxvl import files
from jaxvl.data.folder.rows import Found, Problem
from jaxvl.errors import UserError, printable

_NAMED = 3  # paths of a reason that the summary names; the report names all
_COLUMNS_NAMED = 8
_READ_BY_DEFAULT = ("train", "val", "test")


def count_left_out(problems: Iterable[Problem]) -> int:
    """Returns how many of the problems are records that are left out."""
    return sum(problem.left_out for problem in problems)


def write(path: Path, problems: Iterable[Problem]) -> None:
    """Writes one JSON object a problem; removes the file where there are none."""
    lines = [
        json.dumps(
            {
                "record": problem.record,
                "path": problem.file_name,
                "reason": problem.reason,
                "left_out": problem.left_out,
            }
        )
        for problem in problems
    ]
    if lines:
        files.make_folder(path.parent)
        files.write_text(path, "\n".join(lines) + "\n")
    else:
        path.unlink(missing_ok=True)


def refuse_if_too_bad(
    problems: Sequence[Problem], total: int, on_purpose: int, *, max_bad: float, path: Path
) -> None:
    """Raises UserError where a larger share than max_bad of `total` records is left out, or all.

    on_purpose: how many of them the user excluded; max_bad does not limit these. path: of the
    report.
    """
    left_out = count_left_out(problems)
    if left_out == total and on_purpose:
        raise UserError(f"no record is left: {on_purpose:,} are excluded; each is named in {path}")
    bad = left_out - on_purpose
    if left_out == total or bad > max_bad * total:
        reasons = "; ".join(f"{len(paths)} {reason}" for reason, paths in _reasons(problems, True))
        raise UserError(
            f"{bad:,} of {total:,} records ({bad / total:.1%}) are bad, more than "
            f"--max_bad {max_bad:.1%} allows: nothing was written. {reasons}. "
            f"Each is named in {path}"
        )


def _reasons(problems: Iterable[Problem], left_out: bool) -> list[tuple[str, list[str]]]:
    """Returns (reason without its details, paths) of the problems, the most frequent first."""
    paths: dict[str, list[str]] = collections.defaultdict(list)
    for problem in problems:
        if problem.left_out == left_out:
            reason = printable(problem.reason.split(" (")[0].split(":")[0])
            paths[reason].append(printable(problem.file_name or problem.record))
    return sorted(paths.items(), key=lambda item: -len(item[1]))


def summary(
    out: Path | str,
    total: int,
    digests: Mapping[str, Sequence[bytes]],
    problems: Sequence[Problem],
    path: Path,
) -> list[str]:
    """Returns lines for the user. digests: {split: of the images in it}. path: of the report."""
    written = ", ".join(f"{name} {len(images):,}" for name, images in digests.items())
    left_out = count_left_out(problems)
    lines = [f"read {total:,} records, left out {left_out:,}, wrote {written} to {out}"]
    for verb, is_left_out in (("left out", True), ("kept", False)):
        for reason, paths in _reasons(problems, is_left_out):
            named = _some(paths, _NAMED)
            lines.append(f"  {verb} {len(paths):,}: {reason}: {named}")
    if problems:
        lines.append(f"  each of them is named in {path}")
    copies = sum(len(images) - len(set(images)) for images in digests.values())
    if copies:
        lines.append(f"  kept {copies:,}: copy of another image in the same split")
    return lines


def notes(found: Found, splits: Sequence[str]) -> list[str]:
    """Returns lines on how the table was understood. splits: those that were written."""
    lines = [f"  split {printable(given)!r} is {name}" for given, name in found.splits.items()]
    if found.unused:
        lines.append(f"  columns not read: {_some(map(printable, found.unused), _COLUMNS_NAMED)}")
    if "train" not in splits:
        lines.append("  note: there is no split train, which training reads")
    lines += [
        f"  note: split {name} is read only where a command names it (--split {name})"
        for name in splits
        if name not in _READ_BY_DEFAULT
    ]
    return lines


def _some(names: Iterable[str], most: int) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
