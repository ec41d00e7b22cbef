"""What is found in a data set: records and captions with a fault, and those that are left out.

Letters: I images that can be read, C captions of these.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxvl.clean import copies, fit, texts
from jaxvl.clean.encoding import Encoded
from jaxvl.clean.pictures import Picture
from jaxvl.clean.records import Record
from jaxvl.data.folder.exclusions import Exclusion

LIMITS = {
    "blur": 0.5,  # on 160-pixel photographs, a Gaussian blur of 2 pixels gives 0.59
    "light": 0.32,  # cleanvision's
    "contrast": 0.02,
    "side": 64,
    "side_of_usual": 0.5,  # a data set of small images is not all faults
    "aspect": 3.0,
    "copy_bits": copies.MAX_BITS,
    "copy_correlation": copies.COPY,
    "perhaps_correlation": copies.PERHAPS,
    "random_pairs": 0.2,
    "random_pairs_of_a_weak_model": 0.5,
    "told_apart": 0.9,
}
_ALIKE = 24  # pairs that only the model finds alike


class Flag(NamedTuple):
    """A fault of a record, or of one of its captions.

    image: row among those that can be read. figures: {name: number}. caption: its number in the
    record, -1 for the whole record. of: the other image of a pair, -1 for none.
    """

    image: int
    figures: dict[str, float]
    caption: int = -1
    of: int = -1


class Finding(NamedTuple):
    """Faults of one kind, the worst first.

    reason: in a list of exclusions; "" where nothing is excluded. looked_at: number of images, or
    of captions, that could have had the fault.
    """

    name: str
    flags: list[Flag]
    reason: str
    looked_at: int


def of_pictures(pictures: Sequence[Picture]) -> list[Finding]:
    """Returns the Findings of each image alone."""

    def found(name, reason, faulty: Callable[[Picture], bool], figures, worst):
        rows = [i for i, picture in enumerate(pictures) if faulty(picture)]
        rows.sort(key=lambda i: (worst(pictures[i]), i))
        return Finding(name, [Flag(i, figures(pictures[i])) for i in rows], reason, len(pictures))

    usual = float(np.median([size_of(picture) for picture in pictures]))
    least = min(LIMITS["side"], LIMITS["side_of_usual"] * usual)

    def size(p):
        return {"width": p.width, "height": p.height}

    def shape(p):
        return max(p.width, p.height) / min(p.width, p.height)

    return [
        found("plain", "one colour", is_plain, lambda p: {"contrast": p.contrast}, lambda p: 0),
        found(
            "blurred",
            "blurred",
            lambda p: p.blur > LIMITS["blur"],
            lambda p: {"blur": p.blur},
            lambda p: -p.blur,
        ),
        found(
            "dark",
            "dark",
            lambda p: p.light < LIMITS["light"] and not is_plain(p),
            lambda p: {"light": p.light},
            lambda p: p.light,
        ),
        found("tiny", "tiny", lambda p: size_of(p) < least, size, size_of),
        found("narrow", "narrow", lambda p: shape(p) > LIMITS["aspect"], size, lambda p: -shape(p)),
        found("place", "", lambda p: p.place, lambda p: {}, lambda p: 0),
        found("people", "", lambda p: p.people, lambda p: {}, lambda p: 0),
    ]


def is_plain(picture: Picture) -> bool:
    """Returns whether an image has one colour only; a dark one may have little contrast."""
    return picture.contrast <= LIMITS["contrast"] * picture.light


def size_of(picture: Picture) -> int:
    """Returns the pixels of the shorter side."""
    return min(picture.width, picture.height)


def of_captions(records: Sequence[Record]) -> list[Finding]:
    """Returns the Finding of captions that name people."""
    flags = [
        Flag(i, {}, caption=number)
        for i, record in enumerate(records)
        for number in texts.personal(record.captions)
    ]
    total = sum(len(record.captions) for record in records)
    return [Finding("personal", flags, "a caption with an address or a number", total)]


def of_copies(
    pictures: Sequence[Picture], records: Sequence[Record], encoded: Encoded | None
) -> list[Finding]:
    """Returns the Findings of images that are like another one.

    Of several copies the one in an evaluation split is kept, since results are compared on it; of
    several, the largest one. Images of one colour are all alike, and are not looked at.
    """
    order = [i for i, picture in enumerate(pictures) if not is_plain(picture)]
    order.sort(
        key=lambda i: (records[i].split == "train", -pictures[i].width * pictures[i].height, i)
    )
    phash_I = np.array([picture.phash for picture in pictures], np.uint64)
    colours = np.stack([picture.colours for picture in pictures])
    certain, perhaps = copies.find(phash_I, colours, order)

    def flags(found: Iterable[copies.Copy]) -> list[Flag]:
        ranked = sorted(found, key=lambda each: (-round(each.correlation, 4), each.image))
        return [Flag(each.image, _figures(each, encoded), of=each.of) for each in ranked]

    def within(each):
        return records[each.image].split == records[each.of].split

    total = len(order)
    findings = [
        Finding("leak", flags(c for c in certain if not within(c)), "near-copy", total),
        Finding("near_copy", flags(filter(within, certain)), "near-copy", total),
        Finding("perhaps_copy", flags(perhaps), "", total),
    ]
    if encoded is not None:
        known = {frozenset((each.image, each.of)) for each in (*certain, *perhaps)}
        pairs = copies.alike(encoded.images_IxE, most=_ALIKE + len(known))
        new = [(i, j, c) for i, j, c in pairs if frozenset((i, j)) not in known][:_ALIKE]
        findings.append(
            Finding("alike", [Flag(j, {"cosine": c}, of=i) for i, j, c in new], "", total)
        )
    return findings


def _figures(copy: copies.Copy, encoded: Encoded | None) -> dict[str, float]:
    figures = {"bits": float(copy.bits), "correlation": copy.correlation}
    if encoded is not None:
        one, other = encoded.images_IxE[[copy.image, copy.of]]
        figures["cosine"] = float(one @ other)
    return figures


def of_fit(encoded: Encoded, records: Sequence[Record]) -> tuple[Finding, float]:
    """Returns (the Finding of captions that do not fit their image, Fit.told_apart).

    A model that tells too little apart is asked for fewer captions, and none is excluded.
    """
    found = fit.judge(*encoded)
    is_strong = found.told_apart >= LIMITS["told_apart"]
    limit = LIMITS["random_pairs" if is_strong else "random_pairs_of_a_weak_model"]
    first_I = np.cumsum([0, *(len(record.captions) for record in records)])
    flagged = [c for c in range(len(found.random_C)) if found.random_C[c] >= limit]
    flagged.sort(key=lambda c: (-round(float(found.random_C[c]), 4), c))
    flags = [
        Flag(
            int(encoded.image_C[c]),
            {"random_pairs": float(found.random_C[c]), "margin": float(found.margin_C[c])},
            caption=int(c - first_I[encoded.image_C[c]]),
        )
        for c in flagged
    ]
    reason = "a caption that does not fit" if is_strong else ""
    return Finding("misfit", flags, reason, len(found.random_C)), found.told_apart


def exclusions(
    findings: Iterable[Finding], records: Sequence[Record], damaged: Iterable[str]
) -> list[Exclusion]:
    """Returns what is left out: each record once, and captions of records that stay.

    damaged: names of files that cannot be read.
    """
    whole = {name: "damaged" for name in damaged}
    captions: dict[tuple[str, str], str] = {}
    for finding in findings:
        for flag in finding.flags if finding.reason else ():
            record = records[flag.image]
            if flag.caption >= 0:
                captions.setdefault(
                    (record.file_name, record.captions[flag.caption]), finding.reason
                )
                continue
            details = f" (of {records[flag.of].file_name})" if flag.of >= 0 else ""
            whole.setdefault(record.file_name, finding.reason + details)
    found = [Exclusion(0, name, None, reason) for name, reason in whole.items()]
    found += [
        Exclusion(0, name, caption, reason)
        for (name, caption), reason in captions.items()
        if name not in whole
    ]
    return found
