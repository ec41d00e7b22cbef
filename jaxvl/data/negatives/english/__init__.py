"""English: the rules for its hard negatives."""

import re

from jaxvl.data.negatives.english import analysis, slots
from jaxvl.data.negatives.english.words import ARTICLES, LEXICON
from jaxvl.data.negatives.language import Language, Seen
from jaxvl.data.negatives.reading import Slot

_LETTERS = re.compile(r"[^\W\d_]+([ '-][^\W\d_]+)*")


def _noun_at(caption: str, slot: Slot, place: Slot, seen: Seen) -> str | None:
    """Returns a noun as the data set writes it in this number and with this article, or None."""
    modifiers, space, last = slot.lemma.rpartition(" ")
    if slot.lemma in seen:
        return seen[slot.lemma]
    return modifiers + space + seen[last] if last in seen else None


def _is_noun(slot: Slot, seen: Seen) -> bool:
    """Returns whether a row of nouns is one; taggers mistake "dogs jump" for one."""
    *modifiers, last = slot.lemma.split(" ")
    if LEXICON.is_colour(last) or not _LETTERS.fullmatch(slot.lemma):
        return False
    return not modifiers or slot.lemma in seen


ENGLISH = Language(
    check_installed=analysis.check_installed,
    analyse=analysis.analyse,
    read=slots.read,
    connection=slots.connection,
    lexicon=LEXICON,
    noun_at=_noun_at,
    adjective_at=lambda caption, slot, place: slot.lemma,
    is_noun=_is_noun,
    adjectives=lambda slot, seen: [
        (word, word) for word in LEXICON.mates(slot.lemma) if word in seen
    ],
    articles=ARTICLES,
)
