"""Validates a user's images and captions, then stores them as a prepared data set.

A bad record is left out and named in the report: a file that is missing, empty, not an image,
truncated or damaged; no caption, or none with a word in it; a path or a link that leads out of the
folder; more than 100 megapixels; a file_name that came before; an image that is in two splits. Of
such an image the copy in an evaluation split stays, since results are compared on it; of two
evaluation splits, the first one's.
"""

import collections
import functools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from jaxvl import files
from jaxvl.data import store
from jaxvl.data.folder import rows, tars
from jaxvl.data.folder.rows import Problem
from jaxvl.data.images import untrusted
from jaxvl.data.processes import ordered_map
from jaxvl.data.text.report import TextReport, lines_of
from jaxvl.data.text.scripts import check_installed, reading_of
from jaxvl.errors import UserError, printable

_NAMED = 3  # paths of a reason that the summary names; the report names all


class Checked(NamedTuple):
    """A row whose image can be stored, with the digests of its bytes and pixels."""

    row: rows.Row
    byte_digest: bytes
    pixel_digest: bytes


def prepare_folder(
    *,
    images: Path | str | None,
    captions: Path | str,
    out: Path | str,
    max_bad: float,
    val_share: float,
    vocabulary_size: int,
    max_side: int,
    workers: int,
    words: str = "",
    vocabulary: str = "",
) -> str:
    """Validates every record, then writes `out`; returns a summary for the user, several lines.

    images: folder that the file names are relative to; None for tars. captions: metadata.jsonl,
    CSV, or tars. max_bad: share of bad records above which nothing is written. val_share: share of
    the images that become split "val" where the captions file names no splits, chosen by content,
    so that the copies of an image are in one split. vocabulary_size: ids of the tokenizer.
    max_side: longest side stored, in pixels; 0 keeps the size. workers: processes. words,
    vocabulary: as in `scripts.Reading`; "" chooses them by the script of the captions.
    Raises UserError where nothing was written.
    """
    if files.is_filled(out):
        raise UserError(f"--out {out}: exists and is not empty; name another or remove it")
    report = Path(f"{Path(out)}.report.jsonl")
    found_rows, problems = _read_rows(images, captions)
    total = len(found_rows) + _count_left_out(problems)
    if not total:
        raise UserError(f"--captions {captions}: no records in it")
    texts = [text for row in found_rows for text in row.captions]
    reading = reading_of(texts, words=words, vocabulary=vocabulary)
    check_installed(reading.words)
    checked, found = _check_images(found_rows, max_side=max_side, workers=workers)
    checked, mixed = _with_splits(checked, val_share=val_share)
    checked, leaks = _without_leaks(checked)
    problems = [*problems, *found, *mixed, *leaks]
    _write_report(report, problems)
    _refuse_if_too_bad(problems, total, max_bad=max_bad, report=report)
    splits = _by_split(checked)
    texts_read = _store(
        out,
        splits,
        problems,
        max_side=max_side,
        workers=workers,
        vocabulary_size=vocabulary_size,
        reading=reading,
        max_lost=max_bad,
    )
    _write_report(report, problems)  # again: storing may have added notes
    return "\n".join([_summary(out, total, splits, problems, report), *lines_of(texts_read)])


def _read_rows(images: Path | str | None, captions: Path | str) -> rows.Found:
    found = tars.find(captions)
    if found:
        return tars.read(found)
    path = rows.captions_path(captions)
    if images is None:
        raise UserError("--images is needed unless --captions names webdataset tars")
    if not Path(images).is_dir():
        raise UserError(f"--images {images}: no such folder")
    readers = {".jsonl": rows.read_jsonl, ".csv": rows.read_csv}
    if path.suffix not in readers:
        raise UserError(f"--captions {captions}: must end in .jsonl, .csv or .tar")
    return readers[path.suffix](path, str(images))


def _check_images(
    found_rows: list[rows.Row], *, max_side: int, workers: int
) -> tuple[list[Checked], list[Problem]]:
    checked: list[Checked] = []
    problems: list[Problem] = []
    check = functools.partial(_check, max_side=max_side)
    results = ordered_map(check, [row.location for row in found_rows], workers=workers)
    bar = tqdm(results, total=len(found_rows), desc="checking", unit="image")
    for row, result in zip(found_rows, bar):
        if isinstance(result, str):
            problems.append(Problem(row.record, row.file_name, result))
        else:
            checked.append(Checked(row, *result))
    return checked, problems


def _check(location: untrusted.Location, *, max_side: int) -> tuple[bytes, bytes] | str:
    """Returns the digests of an image, or why it cannot be stored."""
    try:
        return untrusted.check(location, max_side=max_side)
    except untrusted.BadImage as error:
        return str(error)


def _with_splits(
    checked: list[Checked], *, val_share: float
) -> tuple[list[Checked], list[Problem]]:
    """Returns rows with a split, their own or one drawn by content where no row has any.

    Also returns the rows without a split among others that have one, as problems.
    """
    if any(each.row.split for each in checked):
        good = [each for each in checked if each.row.split]
        reason = "no split, while other records have one"
        bad = [
            Problem(each.row.record, each.row.file_name, reason)
            for each in checked
            if not each.row.split
        ]
        return good, bad
    digests = sorted({each.pixel_digest for each in checked})
    val = set(digests[: math.ceil(val_share * len(digests))])
    drawn = [
        each._replace(row=each.row._replace(split="val" if each.pixel_digest in val else "train"))
        for each in checked
    ]
    return drawn, []


def _without_leaks(checked: list[Checked]) -> tuple[list[Checked], list[Problem]]:
    """Returns the rows whose image is in no other split, and the others as problems."""
    owners: dict[bytes, rows.Row] = {}
    for each in sorted(checked, key=lambda each: each.row.split == "train"):  # stable
        owners.setdefault(each.pixel_digest, each.row)
    good, problems = [], []
    for each in checked:
        row, owner = each.row, owners[each.pixel_digest]
        if row.split == owner.split:
            good.append(each)
        else:
            reason = (
                f"duplicate image in two splits (here {row.split}, "
                f"kept in {owner.split} as {owner.file_name})"
            )
            problems.append(Problem(row.record, row.file_name, reason))
    return good, problems


def _by_split(checked: list[Checked]) -> dict[str, list[Checked]]:
    splits = collections.defaultdict(list)
    for each in checked:
        splits[each.row.split].append(each)
    # train first, val next, then by name.
    order = {"train": 0, "val": 1}
    return {name: splits[name] for name in sorted(splits, key=lambda n: (order.get(n, 2), n))}


def _store(
    out: Path | str,
    splits: dict[str, list[Checked]],
    problems: list[Problem],
    *,
    max_side: int,
    workers: int,
    **texts: Any,
) -> TextReport:
    """Writes the data set; adds to the problems the images that are stored despite damage.

    texts: how captions are read, as in `store.write`.
    """
    counts = {name: len(rows) for name, rows in splits.items()}
    return store.write(
        out,
        kind="folder",
        splits={
            name: _records(rows, problems, max_side, workers=workers)
            for name, rows in splits.items()
        },
        counts=counts,
        meta={"max_side": max_side},
        **texts,
    )


def _records(
    checked: list[Checked], problems: list[Problem], max_side: int, *, workers: int
) -> Iterator[dict[str, Any]]:
    from jaxvl.data.host_tf import tf

    jpegs = ordered_map(functools.partial(_to_jpeg, max_side=max_side), checked, workers=workers)
    for each, jpeg in zip(checked, jpegs):
        row = each.row
        try:
            tf.io.decode_jpeg(jpeg, ratio=8)
        except tf.errors.InvalidArgumentError:
            # TensorFlow reads these files in training and accepts less damage than PIL.
            jpeg = _to_jpeg(each, max_side=max_side, keep=False)
            reason = "slightly damaged (stored as far as it could be read)"
            problems.append(Problem(row.record, row.file_name, reason, left_out=False))
        yield {"image": jpeg, "file_name": row.file_name, "captions": list(row.captions)}


def _to_jpeg(each: Checked, *, max_side: int, keep: bool = True) -> bytes:
    try:
        return untrusted.to_jpeg(each.row.location, each.byte_digest, max_side=max_side, keep=keep)
    except untrusted.BadImage as error:
        raise UserError(f"{each.row.record}: {each.row.file_name}: {error}; run again") from None


def _count_left_out(problems: Iterable[Problem]) -> int:
    return sum(problem.left_out for problem in problems)


def _write_report(path: Path, problems: Iterable[Problem]) -> None:
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


def _refuse_if_too_bad(
    problems: list[Problem], total: int, *, max_bad: float, report: Path
) -> None:
    left_out = _count_left_out(problems)
    if left_out == total or left_out > max_bad * total:
        reasons = "; ".join(f"{len(paths)} {reason}" for reason, paths in _reasons(problems, True))
        raise UserError(
            f"{left_out:,} of {total:,} records ({left_out / total:.1%}) are bad, more than "
            f"--max_bad {max_bad:.1%} allows: nothing was written. {reasons}. "
            f"Each is named in {report}"
        )


def _reasons(problems: Iterable[Problem], left_out: bool) -> list[tuple[str, list[str]]]:
    """Returns (reason without its details, paths) of the problems, the most frequent first."""
    paths: dict[str, list[str]] = collections.defaultdict(list)
    for problem in problems:
        if problem.left_out == left_out:
            reason = printable(problem.reason.split(" (")[0].split(":")[0])
            paths[reason].append(printable(problem.file_name or problem.record))
    return sorted(paths.items(), key=lambda item: -len(item[1]))


def _summary(
    out: Path | str,
    total: int,
    splits: dict[str, list[Checked]],
    problems: Sequence[Problem],
    report: Path,
) -> str:
    written = ", ".join(f"{name} {len(rows):,}" for name, rows in splits.items())
    left_out = _count_left_out(problems)
    lines = [f"read {total:,} records, left out {left_out:,}, wrote {written} to {out}"]
    for verb, is_left_out in (("left out", True), ("kept", False)):
        for reason, paths in _reasons(problems, is_left_out):
            named = ", ".join(paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
            lines.append(f"  {verb} {len(paths):,}: {reason}: {named}")
    if problems:
        lines.append(f"  each of them is named in {report}")
    copies = sum(len(rows) - len({each.pixel_digest for each in rows}) for rows in splits.values())
    if copies:
        lines.append(f"  kept {copies:,}: copy of another image in the same split")
    return "\n".join(lines)
