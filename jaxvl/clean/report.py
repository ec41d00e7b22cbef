"""The report of a data set as JSON values: every number that the page shows, and every record."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvl.clean import pairs, texts
from jaxvl.clean.findings import LIMITS, Finding, Flag
from jaxvl.clean.pictures import Picture
from jaxvl.clean.records import DataSet, Record
from jaxvl.data.folder.cells import masked
from jaxvl.data.text.report import report_on
from jaxvl.data.text.scripts import ENGLISH
from jaxvl.data.text.tokenizer import encode_for
from jaxvl.errors import UserError

_BATCH = 256  # for which false negatives are counted
_SHARED = 20
_WORDS = 10  # of each side of the table of pairs
_FEW = 30
_QUANTILES = (0.01, 0.5, 0.99)


class Model(NamedTuple):
    """What a run says: the name of its folder, the step, and what it tells apart (see `fit`)."""

    run: str
    step: int
    told_apart: float


def compiled(
    data: DataSet,
    *,
    records: Sequence[Record],
    pictures: Sequence[Picture],
    damaged: Sequence[tuple[Record, str]],
    findings: Sequence[Finding],
    excluded: int,
    model: Model | None,
    text: dict[str, Any],
) -> dict[str, Any]:
    """Returns the report as JSON values.

    records, pictures: of the images that can be read. damaged: the others, and why. excluded:
    number of lines in the list of exclusions. text: of `about_texts`.
    """
    splits = dict.fromkeys((record.split for record in data.records), 0)
    for record in data.records:
        splits[record.split] += 1
    unusable = [each._asdict() for each in data.unusable]
    unusable += [
        {"place": record.split, "file_name": record.file_name, "reason": reason}
        for record, reason in damaged
    ]
    return {
        "format_version": 1,
        "jaxvl": importlib.metadata.version("jaxvl"),
        "data": {
            "name": data.name,
            "kind": data.kind,
            "fingerprint": data.fingerprint,
            "images": len(data.records),
            "captions": sum(len(record.captions) for record in data.records),
            "splits": splits if any(splits) else {},
        },
        "model": model and {**model._asdict(), "told_apart": _rounded(model.told_apart)},
        "limits": LIMITS,
        "excluded": excluded,
        "unusable": {
            "count": len(unusable),
            "looked_at": len(data.records) + len(data.unusable),
            "records": unusable,
        },
        "findings": [_finding(finding, records) for finding in findings],
        "pictures": _distribution(pictures),
        **text,
    }


def _finding(finding: Finding, records: Sequence[Record]) -> dict[str, Any]:
    return {
        "name": finding.name,
        "count": len(finding.flags),
        "looked_at": finding.looked_at,
        "share": _rounded(len(finding.flags) / max(1, finding.looked_at)),
        "excluded": bool(finding.reason),
        "records": [_flagged(flag, records) for flag in finding.flags],
    }


def _flagged(flag: Flag, records: Sequence[Record]) -> dict[str, Any]:
    record = records[flag.image]
    caption = record.captions[max(flag.caption, 0)]
    found: dict[str, Any] = {
        "file_name": record.file_name,
        "split": record.split,
        "caption": masked(caption),
    }
    if flag.caption >= 0:
        found["number"] = flag.caption
    if flag.of >= 0:
        other = records[flag.of]
        found["of"] = {
            "file_name": other.file_name,
            "split": other.split,
            "caption": masked(other.captions[0]),
        }
    return found | {name: _rounded(value) for name, value in flag.figures.items()}


def _distribution(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Returns [{measure, low, middle, high}]: quantiles over the images."""
    measures = {
        "width": [picture.width for picture in pictures],
        "height": [picture.height for picture in pictures],
        "blur": [picture.blur for picture in pictures],
        "light": [picture.light for picture in pictures],
        "contrast": [picture.contrast for picture in pictures],
    }
    return [
        {"measure": name}
        | {
            place: _rounded(float(value))
            for place, value in zip(("low", "middle", "high"), np.quantile(values, _QUANTILES))
        }
        for name, values in measures.items()
    ]


def about_texts(data: DataSet, tokenizer: Any, config: Any) -> dict[str, Any]:
    """Returns what is said of captions alone: {"texts": ..., "pairs": ...}.

    Shared captions and pairs are those of split "train", where there is one: they matter there.
    tokenizer, config: of a run, or the data's own tokenizer and None.
    """
    captions_I = [record.captions for record in data.records]
    flat = [caption for captions in captions_I for caption in captions]
    lengths = texts.lengths(flat, words=data.words)
    learned = [record.captions for record in data.records if record.split == "train"]
    split, learned_I = ("train", learned) if learned else ("", captions_I)
    shared = texts.shared(learned_I, batch=_BATCH, most=_SHARED)
    read = report_on(tokenizer, flat, ENGLISH)
    kept = encode_for(tokenizer, flat, config.data).mask.sum(axis=1) if config else None
    special = 1 + int(config.data.add_sep) if config else 0
    return {
        "texts": {
            "captions": len(flat),
            "words": data.words or "blanks",
            "median": _rounded(float(np.median(lengths))),
            "longest": max(lengths),
            "lengths": texts.by_length(lengths),
            "scripts": texts.by_script(flat),
            "unknown": _rounded(read.unknown),
            "lost": read.lost,
            "cut": None if kept is None else int((kept - special < read.tokens).sum()),
            "tokenizer": "run" if config else data.kind,
            "learned": {"split": split, "captions": sum(map(len, learned_I))},
            "distinct": shared.distinct,
            "sharing_images": shared.images,
            "batch": _BATCH,
            "false_negatives": _rounded(shared.pairs),
            "shared": [{"caption": masked(text), "images": n} for text, n in shared.most],
        },
        "pairs": {"split": split, **_pairs(learned_I)},
    }


def _pairs(captions_I: Sequence[Sequence[str]]) -> dict[str, Any]:
    try:
        found = pairs.count(captions_I)
    except UserError as error:
        return {"skipped": str(error)}
    things, attributes = list(found.things)[:_WORDS], list(found.attributes)[:_WORDS]
    return {
        "language": found.language,
        "images": found.images,
        "things": things,
        "rows": [
            {"attribute": one, "images": [found.table.get((one, thing), 0) for thing in things]}
            for one in attributes
        ],
        "few": [
            pair._asdict() | {"expected": _rounded(pair.expected)} for pair in found.few[:_FEW]
        ],
        "few_count": len(found.few),
    }


def _rounded(value: float) -> float | int:
    """Returns a number with 4 decimals, so that the last bits of a machine do not matter."""
    rounded = round(float(value), 4)
    return int(rounded) if rounded.is_integer() else rounded
