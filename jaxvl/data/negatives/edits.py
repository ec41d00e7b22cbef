"""The kinds of hard negative: which changes of a caption are tried for each.

An edit yields (changes, score of the words put in or None), and reports what it rejects.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jaxvl.data.negatives.filler import Fill
from jaxvl.data.negatives.judge import Judge
from jaxvl.data.negatives.reading import Slot


class Change(NamedTuple):
    """A text that takes the place of a slot."""

    slot: Slot
    text: str


Edits = Iterator[tuple[list[Change], float | None]]


def _replace_word(judge: Judge, kind: str, rng: random.Random, fill: Fill) -> Edits:
    """Yields changes of one word to another of its class."""
    candidates = [slot for slot in judge.reading.of(kind) if _is_replaceable(judge, slot)]
    for slot in rng.sample(candidates, len(candidates)):
        for lemma, text, score in fill(judge.caption, slot, rng):
            objection = judge.objection(slot, lemma)
            if objection is None:
                yield [Change(slot, text)], score
            else:
                judge.report(kind, f"{slot.lemma} -> {lemma}", objection)


def _exchange_nouns(judge: Judge, kind: str, rng: random.Random, fill: Fill) -> Edits:
    """Yields exchanges of two nouns, each in the number of the other's place."""
    reading = judge.reading
    nouns = [slot for slot in reading.of("noun") if _is_replaceable(judge, slot)]
    pairs = list(itertools.combinations(nouns, 2))
    for one, other in rng.sample(pairs, len(pairs)):
        objection = _objection_to_exchange(judge, one, other)
        first, second = _noun_at(judge, other, one), _noun_at(judge, one, other)
        if objection is None and first and second:
            yield [Change(one, first), Change(other, second)], None
        else:
            why = objection or "not seen in the number and with the article of the other's place"
            judge.report(kind, f"{one.lemma} <-> {other.lemma}", why)


def _exchange_adjectives(judge: Judge, kind: str, rng: random.Random, fill: Fill) -> Edits:
    """Yields exchanges of two adjectives of different nouns."""
    reading, nouns = judge.reading, judge.reading.of("noun")
    pairs = itertools.combinations(reading.of("adj"), 2)
    pairs = [(one, other) for one, other in pairs if one.head != other.head]
    for one, other in rng.sample(pairs, len(pairs)):
        name = f"{one.lemma} <-> {other.lemma}"
        first, second = _adjective_at(judge, other, one), _adjective_at(judge, one, other)
        heads = nouns[one.head], nouns[other.head]
        if not judge.exclude_each_other(one.lemma, other.lemma):
            judge.report(kind, name, "both may be true of both things")
        elif not (first and second):
            judge.report(kind, name, "not known in the form of the other's place")
        elif judge.may_be_same("noun", one.near, other.near) and not _are_apart(judge, *heads):
            judge.report(kind, name, f"{one.near} and {other.near} may be the same thing")
        elif _is_said_of(judge, one, other) or _is_said_of(judge, other, one):
            judge.report(kind, name, "said in a caption of the image")
        else:
            yield [Change(one, first), Change(other, second)], None


EDITS: dict[str, Callable[[Judge, str, random.Random, Fill], Edits]] = {
    "relation": _exchange_nouns,
    "adj_swap": _exchange_adjectives,
    "adj": _replace_word,
    "noun": _replace_word,
    "verb": _replace_word,
}
KINDS = tuple(EDITS)


def _is_replaceable(judge: Judge, slot: Slot) -> bool:
    if slot.part == "noun":
        untouched = slot.lemma in judge.lexicon.untouched_nouns
        return not untouched and judge.language.is_noun(slot, judge.seen(slot))
    return slot.lemma not in judge.lexicon.vague["adj"] or slot.part == "verb"


def _objection_to_exchange(judge: Judge, one: Slot, other: Slot) -> str | None:
    """Returns why two nouns must not change places, or None where they may."""
    if judge.may_be_same("noun", one.lemma.rpartition(" ")[2], other.lemma.rpartition(" ")[2]):
        return "may be the same thing"
    connected = judge.language.connection(judge.reading, one, other)
    if connected and (other.lemma, connected.words, one.lemma) in judge.facts.related:
        return "said in a caption of the image"
    if connected and connected.one_way or _have_exclusive_adjectives(judge, one, other):
        return None
    return "may hold in both directions"


def _have_exclusive_adjectives(judge: Judge, one: Slot, other: Slot) -> bool:
    """Returns whether two neighbouring nouns have adjectives that exclude each other."""
    nouns, adjectives = judge.reading.of("noun"), judge.reading.of("adj")
    if abs(nouns.index(one) - nouns.index(other)) != 1:
        return False
    mine, yours = ([a for a in adjectives if nouns[a.head] is noun] for noun in (one, other))
    swapped = {(a.lemma, other.lemma) for a in mine} | {(a.lemma, one.lemma) for a in yours}
    if swapped & judge.facts.described:
        return False
    return any(judge.exclude_each_other(a.lemma, b.lemma) for a in mine for b in yours)


def _noun_at(judge: Judge, slot: Slot, place: Slot) -> str | None:
    return judge.language.noun_at(judge.caption, slot, place, judge.seen(place))


def _adjective_at(judge: Judge, slot: Slot, place: Slot) -> str | None:
    return judge.language.adjective_at(judge.caption, slot, place)


def _are_apart(judge: Judge, one: Slot, other: Slot) -> bool:
    """Returns whether a relation that holds in one direction only stands between two nouns."""
    connected = judge.language.connection(judge.reading, *sorted((one, other)))
    return connected is not None and connected.one_way


def _is_said_of(judge: Judge, adjective: Slot, other: Slot) -> bool:
    """Returns whether a caption says of the other's noun what this adjective says, or similar."""
    return any(
        judge.may_be_same("noun", noun, other.near)
        and judge.may_be_same("adj", word, adjective.lemma)
        for word, noun in judge.facts.described
        if (word, noun) != (adjective.lemma, adjective.near)
    )
