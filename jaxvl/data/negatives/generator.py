"""One hard negative of each kind for a caption.

Every random draw depends on (seed, place of the caption, kind) alone; nothing is stored.
"""

import random
import re
from collections.abc import Callable, Collection
from typing import Any

from jaxvl.data.negatives.edits import EDITS, Change
from jaxvl.data.negatives.filler import Fill
from jaxvl.data.negatives.image_facts import ImageFacts, cleaned
from jaxvl.data.negatives.judge import Judge
from jaxvl.data.negatives.reading import Reading
from jaxvl.data.negatives.vocabulary import Vocabulary

_VOWEL = re.compile(r"(?!uni(?!n)|us[eiu]|eu|one\b|once|ut[ei])[aeiou]|hour|hono|heir")


def negatives_of(
    facts: ImageFacts,
    number: int,
    *,
    vocabulary: Vocabulary,
    fill: Fill,
    filler_name: str,
    seed: int,
    place: str,
    report: Callable[[str, str, str], None] = lambda kind, tried, why: None,
) -> list[dict[str, Any] | None]:
    """Returns the negatives of caption `number` of an image: of each kind one as stored, or None.

    fill: of the filler `filler_name`, prepared for this caption. place: names the caption in the
    data set; every draw depends on it, the seed and the kind. report: as in `Judge`.
    """
    judge = Judge(vocabulary, facts, number, report)
    negatives, taken = [], set(facts.texts)
    for kind, edit in EDITS.items():
        rng = random.Random(f"{seed}/{place}/{kind}")
        negative = None
        for changes, score in edit(judge, kind, rng, fill):
            text = apply(judge.caption, judge.reading, changes, judge.language.articles)
            if cleaned(text) in taken:
                report(kind, text, "is already a caption or a negative")
                continue
            taken.add(cleaned(text))
            how = filler_name if len(changes) == 1 else "exchange"
            negative = _stored(kind, text, judge.caption, changes, how, score, seed)
            break
        negatives.append(negative)
    return negatives


def _stored(
    kind: str,
    text: str,
    caption: str,
    changes: list[Change],
    how: str,
    score: float | None,
    seed: int,
) -> dict[str, Any]:
    """Returns a negative as `storage` describes it."""
    changes = sorted(changes, key=lambda change: change.slot.start)
    return {
        "type": kind,
        "text": text,
        "span": [[change.slot.start, change.slot.end] for change in changes],
        "out": [caption[change.slot.start : change.slot.end] for change in changes],
        "in": [change.text for change in changes],
        "filler": how,
        "score": score,
        "seed": seed,
    }


def apply(caption: str, reading: Reading, changes: list[Change], articles: Collection[str]) -> str:
    """Returns the caption with the changes; an article before a change becomes "a" or "an"."""
    edits = []
    for change in changes:
        slot, text = change.slot, change.text
        before = reading.tokens[slot.first - 1] if slot.first else None
        if before and before.word in articles:
            article = "an" if _VOWEL.match(text.lower()) else "a"
            if article != before.word:
                edits.append((before.start, before.end, _cased(caption[before.start], article)))
        edits.append((slot.start, slot.end, _cased(caption[slot.start : slot.end], text)))
    for start, end, text in sorted(edits, reverse=True):
        caption = caption[:start] + text + caption[end:]
    return caption


def _cased(replaced: str, text: str) -> str:
    """Returns the text in upper case, or with a capital, where the replaced text is so."""
    if len(replaced) > 1 and replaced.isupper():
        return text.upper()
    return text[0].upper() + text[1:] if replaced[0].isupper() else text
