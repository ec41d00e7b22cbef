"""Validates a user's images and captions, then stores them as a prepared data set.

A bad record is left out and named in the report: a file that is missing, empty, not an image,
truncated or damaged, or of an unknown range of values; no caption, or none with a word in it; a
path or a link that leads out of the folder; more than 100 megapixels, or one side more than 200
times the other; a file_name that came before; an image that is in two splits. Of
such an image the copy in an evaluation split stays, since results are compared on it; of two
evaluation splits, the first one's.
"""

import collections
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tqdm import tqdm

from jaxvl import files
from jaxvl.data import store
from jaxvl.data.folder import exclusions, parquet, places, report, rows, tables, tars, unpack
from jaxvl.data.folder.rows import Problem
from jaxvl.data.images import untrusted
from jaxvl.data.processes import ordered_map
from jaxvl.data.text.report import TextReport, lines_of
from jaxvl.data.text.scripts import check_installed, reading_of
from jaxvl.errors import UserError


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
    keep_metadata: bool = False,
    exclude: Path | str | None = None,
) -> str:
    """Validates every record, then writes `out`; returns a summary for the user, several lines.

    images: folder that the file names are relative to; None for tars. captions: a table, tars or
    parquet files, see `places.find`. max_bad: share of bad records above which nothing is written.
    val_share: share of the images that become split "val" where the captions file names no splits,
    chosen by content, so that the copies of an image are in one split. vocabulary_size: ids of the
    tokenizer. max_side: longest side stored, in pixels; 0 keeps the size. workers: processes.
    words, vocabulary: as in `scripts.Reading`; "" chooses them by the script of the captions.
    keep_metadata: files that keep their bytes keep EXIF, XMP, IPTC and comments too.
    exclude: a list of what is left out on purpose, see `exclusions`; it is counted in jaxvl.json.
    Raises UserError where nothing was written.
    """
    if files.is_filled(out):
        raise UserError(f"--out {out}: exists and is not empty; name another or remove it")
    path = Path(f"{Path(out)}.report.jsonl")
    with unpack.room(out) as create:
        found = read_rows(images, captions, create)
        total = len(found.rows) + report.count_left_out(found.problems)
        if not total:
            raise UserError(f"--captions {captions}: no records in it")
        meta: dict[str, Any] = {"max_side": max_side}
        if exclude is not None:
            meta["excluded"] = exclusions.apply(found, exclusions.read(exclude), exclude)
        texts = [text for row in found.rows for text in row.captions]
        reading = reading_of(texts, words=words, vocabulary=vocabulary)
        check_installed(reading.words)
        checked, bad = _check_images(found.rows, max_side=max_side, workers=workers)
        checked, mixed = _with_splits(checked, val_share=val_share)
        checked, leaks = _without_leaks(checked)
        problems = [*found.problems, *bad, *mixed, *leaks]
        report.write(path, problems)
        on_purpose = meta["excluded"]["records"] if exclude is not None else 0
        report.refuse_if_too_bad(problems, total, on_purpose, max_bad=max_bad, path=path)
        splits = _by_split(checked)
        texts_read = _store(
            out,
            splits,
            problems,
            max_side=max_side,
            keep_metadata=keep_metadata,
            workers=workers,
            meta=meta,
            vocabulary_size=vocabulary_size,
            reading=reading,
            max_lost=max_bad,
        )
    report.write(path, problems)  # again: storing may have added notes
    digests = {name: [each.pixel_digest for each in rows] for name, rows in splits.items()}
    lines = report.summary(out, total, digests, problems, path)
    return "\n".join([*lines, *report.notes(found, list(splits)), *lines_of(texts_read)])


def read_rows(
    images: Path | str | None, captions: Path | str, create: Callable[[str], BinaryIO]
) -> rows.Found:
    """Returns what --captions names. create: of `unpack.room`.

    images: folder that the file names are relative to; None for tars and parquet files.
    Raises UserError where there is nothing to read.
    """
    found = places.find(captions)
    if images is not None and not Path(images).is_dir():
        raise UserError(f"--images {images}: no such folder")
    if found.kind is places.TARS:
        read = tars.read(found.files, create)
    elif found.kind is places.PARQUET:
        read = parquet.read(found.files, str(images or ""), create)
    elif images is None:
        raise UserError("--images is needed unless --captions names webdataset tars or parquet")
    else:
        (path,) = found.files.values()
        read = tables.READERS[path.suffix.lower()](path, str(images))
    read.problems.extend(rows.Problem(name, "", "missing file") for name in found.missing)
    return read


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
    keep_metadata: bool,
    workers: int,
    **texts: Any,
) -> TextReport:
    """Writes the data set; adds to the problems the images that are stored despite damage.

    texts: what the data set is and how captions are read, as in `store.write`.
    """
    counts = {name: len(rows) for name, rows in splits.items()}
    to_jpeg = functools.partial(_to_jpeg, max_side=max_side, keep_metadata=keep_metadata)
    return store.write(
        out,
        kind="folder",
        splits={
            name: _records(rows, problems, to_jpeg, workers=workers)
            for name, rows in splits.items()
        },
        counts=counts,
        **texts,
    )


def _records(
    checked: list[Checked],
    problems: list[Problem],
    to_jpeg: Callable[..., bytes],
    *,
    workers: int,
) -> Iterator[dict[str, Any]]:
    from jaxvl.data.host_tf import tf

    for each, jpeg in zip(checked, ordered_map(to_jpeg, checked, workers=workers)):
        row = each.row
        try:
            tf.io.decode_jpeg(jpeg, ratio=8)
        except tf.errors.InvalidArgumentError:
            # TensorFlow reads these files in training and accepts less damage than PIL.
            jpeg = to_jpeg(each, keep=False)
            reason = "slightly damaged (stored as far as it could be read)"
            problems.append(Problem(row.record, row.file_name, reason, left_out=False))
        yield {"image": jpeg, "file_name": row.file_name, "captions": list(row.captions)}


def _to_jpeg(each: Checked, *, keep: bool = True, **options: Any) -> bytes:
    try:
        return untrusted.to_jpeg(each.row.location, each.byte_digest, keep=keep, **options)
    except untrusted.BadImage as error:
        raise UserError(f"{each.row.record}: {each.row.file_name}: {error}; run again") from None
