"""Looks at a data set: measures every image and caption, and writes what was found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxvl import files, pages
from jaxvl.clean import encoding, findings, report
from jaxvl.clean.pictures import Picture, check_installed, measure
from jaxvl.clean.records import DataSet, Record
from jaxvl.clean.wording import WORDING
from jaxvl.data.folder import exclusions
from jaxvl.data.folder.exclusions import Exclusion
from jaxvl.data.images import untrusted
from jaxvl.data.processes import ordered_map
from jaxvl.errors import UserError

PAGE, NUMBERS, EXCLUSIONS = "clean.html", "clean.json", "exclusions.jsonl"
SHOWN = 12  # records of a finding that the page shows
_SIDE = 200  # pixels of a picture on the page


class Look(NamedTuple):
    """What was found: the report as JSON values, what is left out, and pictures for the page.

    pictures: {file name: data URI} of the records that the page shows.
    """

    report: dict[str, Any]
    exclusions: list[Exclusion]
    pictures: dict[str, str]


def look(data: DataSet, *, workdir: Path | str | None, workers: int) -> Look:
    """Returns the Look at a data set. workdir: of a run, for what a model is needed for, or None.

    Raises UserError where no image can be read, and as `jaxvl.load`.
    """
    model = _load(workdir)
    results = ordered_map(measure, data.iterate(), workers=workers)
    bar = tqdm(results, total=len(data.records), desc="looking", unit="image")
    measured = dict(enumerate(bar))
    rows = [row for row, result in measured.items() if isinstance(result, Picture)]
    if not rows:
        raise UserError(f"{data.name}: no image of it can be read, so there is nothing to look at")
    pictures = [result for result in measured.values() if isinstance(result, Picture)]
    damaged = [
        (data.records[row], result) for row, result in measured.items() if isinstance(result, str)
    ]
    records = [data.records[row] for row in rows]
    found, said = _findings(data, rows, records, pictures, model, workdir)
    excluded = findings.exclusions(found, records, [record.file_name for record, _ in damaged])
    compiled = report.compiled(
        data,
        records=records,
        pictures=pictures,
        damaged=damaged,
        findings=found,
        excluded=len(excluded),
        model=said,
        text=report.about_texts(
            data, *((model.tokenizer, model.config) if model else (data.tokenizer(), None))
        ),
    )
    return Look(compiled, excluded, _pictures(data, rows, found))


def _load(workdir: Path | str | None) -> Any:
    if workdir is None:
        return None
    from jaxvl import api

    return api.load(workdir)


def _findings(
    data: DataSet,
    rows: Sequence[int],
    records: Sequence[Record],
    pictures: Sequence[Picture],
    model: Any,
    workdir: Path | str | None,
) -> tuple[list[findings.Finding], report.Model | None]:
    """Returns (Findings, what the run says of itself)."""
    if model is None:
        encoded, misfits, said = None, [], None
    else:
        from jaxvl.checkpoint import checkpoint_steps

        encoded = encoding.encode(model, data, rows)
        misfit, told_apart = findings.of_fit(encoded, records)
        misfits = [misfit]
        said = report.Model(str(workdir), max(checkpoint_steps(str(workdir))), told_apart)
    found = [
        *misfits,
        *findings.of_copies(pictures, records, encoded),
        *findings.of_pictures(pictures),
        *findings.of_captions(records),
    ]
    return found, said


def _pictures(
    data: DataSet, rows: Sequence[int], found: Sequence[findings.Finding]
) -> dict[str, str]:
    """Returns {file name: data URI} of what the page shows of each finding."""
    flags = [flag for finding in found for flag in finding.flags[:SHOWN]]
    wanted = sorted({image for flag in flags for image in (flag.image, flag.of) if image >= 0})
    shown = {}
    for image in wanted:
        (content,) = data.contents([rows[image]])
        if isinstance(content, untrusted.Location):
            content = untrusted.read(content)
        with untrusted.opened(content) as opened:
            small = untrusted.upright_image(opened, max_side=_SIDE)
        shown[data.records[rows[image]].file_name] = pages.picture(np.asarray(small))
    return shown


def check_out(out: Path | str, *, apply: bool) -> None:
    """Raises UserError where `out` holds something other than an earlier report.

    Also where a package is missing, which is better said before the work than after it.
    apply: whether a list of exclusions is to be written; an older one may have been edited.
    """
    pages.check_installed()
    check_installed()
    out = Path(out)
    if files.is_filled(out) and not (out / NUMBERS).is_file():
        raise UserError(f"--out {out}: exists and holds no report; name another or remove it")
    if apply and (out / EXCLUSIONS).exists():
        raise UserError(
            f"{out / EXCLUSIONS}: exists, and may have been edited; remove it or name another --out"
        )


def write(found: Look, out: Path | str, *, apply: bool) -> None:
    """Writes the page and the JSON into the folder `out`, with `apply` the exclusions, too.

    Raises UserError as `check_out`, and where it cannot be written.
    """
    check_out(out, apply=apply)
    page = pages.render(
        "clean.html", report=found.report, pictures=found.pictures, shown=SHOWN, words=WORDING
    )
    files.make_folder(out)
    files.write_json(Path(out) / NUMBERS, found.report)
    files.write_text(Path(out) / PAGE, page)
    if apply:
        exclusions.write(Path(out) / EXCLUSIONS, found.exclusions)


def summary(found: Look, out: Path | str, *, apply: bool) -> str:
    """Returns lines for the terminal."""
    report = found.report
    data, unusable = report["data"], report["unusable"]
    lines = [f"looked at {data['images']:,} images with {data['captions']:,} captions"]
    if unusable["count"]:
        lines.append(f"  {unusable['count']:,}: {WORDING['findings']['unusable'][0].lower()}")
    lines += [
        f"  {each['count']:,}: {WORDING['findings'][each['name']][0].lower()}"
        for each in report["findings"]
        if each["count"]
    ]
    if apply:
        lines.append(f"{len(found.exclusions):,} exclusions: {Path(out) / EXCLUSIONS}")
    else:
        lines.append(
            f"nothing is changed; --apply writes a list of {len(found.exclusions):,} exclusions"
        )
    return "\n".join([*lines, f"page: {Path(out) / PAGE}"])
