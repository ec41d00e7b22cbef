"""One hard negative of each kind for a caption: what is tried, and why it is turned down.

Everything drawn is keyed by (seed, where the caption stands, kind); nothing is stored.
"""

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from jaxvl.data.negatives import KINDS, slots, words
from jaxvl.data.text.clean import clean_caption

_LETTERS = re.compile(r"[^\W\d_]+([ '-][^\W\d_]+)*")
_MAX_WORDS = 10_000  # of a caption compared with the others of its picture
_VOWEL = re.compile(r"(?!uni(?!n)|us[eiu]|eu|one\b|once|ut[ei])[aeiou]|hour|hono|heir")


class Picture(NamedTuple):
    """What is known of a picture: what its captions say.

    said: {part: lemmas}. implied: {part: lemmas that may be true where those are}. texts: cleaned
    captions. described: (adjective, noun). related: (noun, connection, noun).
    """

    captions: list
    readings: list
    said: dict
    implied: dict
    texts: set
    described: set
    related: set


class Filler(NamedTuple):
    """Where words come from.

    prepare([(captions, readings)]) -> fill, for some examples at once; fill(caption, slot, rng)
    yields (lemma, text, score), what to try first first.
    """

    name: str
    prepare: Callable


class Change(NamedTuple):
    """Words put in the place of a slot's."""

    slot: slots.Slot
    text: str


def picture_of(captions, readings, vocabulary):
    """The Picture of some captions and their `slots.Reading`s."""
    said = {part: set() for part in ("noun", "adj", "verb")}
    described, related = set(), set()
    for reading in readings:
        for slot in reading.slots:
            said[slot.part] |= {slot.lemma, slot.lemma.rpartition(" ")[2]}
            if slot.part == "adj":
                described.add((slot.lemma, slot.near))
        for one, other in _in_order(reading.of("noun")):
            connected = slots.connection(reading, one, other)
            if connected:
                related.add((one.lemma, connected[0], other.lemma))
        said["noun"] |= {t.lemma for t in reading.tokens if t.lemma not in said["verb"]}
    implied = {
        part: set().union(
            *(words.companions(part, lemma) for lemma in lemmas),
            *(vocabulary.confused[part].get(lemma, ()) for lemma in lemmas),
        )
        for part, lemmas in said.items()
    }
    texts = {_cleaned(caption) for caption in captions}
    return Picture(captions, readings, said, implied, texts, described, related)


def negatives_of(picture, number, *, vocabulary, fill, name, seed, place, tell=None):
    """The negatives of caption `number` of a picture: for each kind a dict, or None.

    fill, name: of a Filler. place: text that says where the caption stands; with seed and kind
    the key of every draw. tell: called with (kind, what was tried, why not).
    """
    caption = picture.captions[number]
    judge = Judge(vocabulary, picture, number, tell or (lambda *_: None))
    found, taken = [], set(picture.texts)
    for kind in KINDS:
        rng = random.Random(f"{seed}/{place}/{kind}")
        made = None
        for changes, score in _EDITS[kind](judge, kind, rng, fill):
            text = apply(caption, judge.reading, changes)
            if _cleaned(text) in taken:
                judge.tell(kind, text, "is already a caption or a negative")
                continue
            taken.add(_cleaned(text))
            how = name if len(changes) == 1 else "exchange"
            made = _provenance(kind, text, caption, changes, how, score, seed)
            break
        found.append(made)
    return found


def _provenance(kind, text, caption, changes, how, score, seed):
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


def apply(caption, reading, changes):
    """The caption with the changes made, by character offsets; "a" and "an" follow suit."""
    edits = []
    for change in changes:
        slot, text = change.slot, change.text
        before = reading.tokens[slot.first - 1] if slot.first else None
        if before and before.word in words.ARTICLES:
            article = "an" if _VOWEL.match(text.lower()) else "a"
            if article != before.word:
                edits.append((before.start, before.end, _as(caption[before.start], article)))
        edits.append((slot.start, slot.end, _as(caption[slot.start : slot.end], text)))
    for start, end, text in sorted(edits, reverse=True):
        caption = caption[:start] + text + caption[end:]
    return caption


def _as(model, text):
    """Text in upper case where the word it replaces was."""
    if len(model) > 1 and model.isupper():
        return text.upper()
    return text[0].upper() + text[1:] if model[0].isupper() else text


def _cleaned(text):
    return clean_caption(text, max_words=_MAX_WORDS)


class Judge:
    """Says of a change whether it may leave the caption true, from lists, counts and captions."""

    def __init__(self, vocabulary, picture, number, tell):
        self.vocabulary, self.picture, self.tell = vocabulary, picture, tell
        self.caption, self.reading = picture.captions[number], picture.readings[number]

    def alike(self, part, one, other):
        """Whether two lemmas may both be true of a thing."""
        if words.may_be_the_same(part, one, other):
            return True
        return other in self.vocabulary.confused[part].get(one, ())

    def fault(self, slot, lemma):
        """Why a lemma may not stand in for a slot's, or None."""
        part = slot.part
        if lemma == slot.lemma:
            return "the same lemma"
        if part == "noun" and {*lemma.split()} & {*slot.lemma.split()}:
            return "shares a word with it"
        if lemma in words.VAGUE[part] or part == "noun" and words.is_colour(lemma):
            return "too general to contradict"
        if part == "adj" and not self.exclusive(slot.lemma, lemma):
            return "both may be true of one thing"
        for own in (slot.lemma, slot.lemma.rpartition(" ")[2]):
            if self.alike(part, own, lemma):
                return "a synonym, or often said of the same"
        return self._said(slot, lemma)

    def exclusive(self, one, other):
        """Whether a noun has only one of two adjectives, by the lists or the data set."""
        if words.kinds_of(one) and words.kinds_of(other):
            return words.contradict(one, other)
        return other in self.vocabulary.exclusive.get(one, ())

    def _said(self, slot, lemma):
        """Whether the picture's captions say it, in this word or a like one."""
        said, implied = self.picture.said[slot.part], self.picture.implied[slot.part]
        if lemma in said or lemma.rpartition(" ")[2] in said:
            return "in a caption of the picture"
        if lemma in words.PEOPLE and slot.part == "noun":
            # "a person", said of the man here, does not say that there is a woman
            others = {other for other in said & words.PEOPLE.keys() if not self._here(slot, other)}
            if any(self.alike("noun", lemma, other) for other in others):
                return "may be another one of the picture's people"
        elif lemma in implied:
            return "like a word of the picture's captions"
        return None

    def _here(self, slot, other):
        """Whether a noun for people may mean the slot's."""
        return slot.lemma in words.PEOPLE and self.alike("noun", slot.lemma, other)


def _in_order(nouns):
    return [(one, other) for k, one in enumerate(nouns) for other in nouns[k + 1 :]]


def _replace(judge, kind, rng, fill):
    """A word becomes another of its class."""
    candidates = [slot for slot in judge.reading.of(kind) if _replaceable(judge, slot)]
    for slot in rng.sample(candidates, len(candidates)):
        for lemma, text, score in fill(judge.caption, slot, rng):
            fault = judge.fault(slot, lemma)
            if fault is None:
                yield [Change(slot, text)], score
            else:
                judge.tell(kind, f"{slot.lemma} -> {lemma}", fault)


def _replaceable(judge, slot):
    if slot.part == "noun":
        return slot.lemma not in words.UNTOUCHED_NOUNS and _is_noun(judge, slot)
    return slot.lemma not in words.VAGUE["adj"] or slot.part == "verb"


def _is_noun(judge, slot):
    """Whether a row of nouns is one: taggers take "dogs jump" for it."""
    *modifiers, last = slot.lemma.split(" ")
    if words.is_colour(last) or not _LETTERS.fullmatch(slot.lemma):
        return False
    return not modifiers or slot.lemma in judge.vocabulary.forms.get(f"noun|{slot.form}", ())


def _exchange_nouns(judge, kind, rng, fill):
    """Two nouns change places, each in the other's number: "a dog on a couch", the other way."""
    reading, nouns = judge.reading, [s for s in judge.reading.of("noun") if _replaceable(judge, s)]
    pairs = _in_order(nouns)
    for one, other in rng.sample(pairs, len(pairs)):
        name = f"{one.lemma} <-> {other.lemma}"
        if judge.alike("noun", one.lemma.rpartition(" ")[2], other.lemma.rpartition(" ")[2]):
            judge.tell(kind, name, "may be the same")
            continue
        connected = slots.connection(reading, one, other)
        turned = connected and (other.lemma, connected[0], one.lemma) in judge.picture.related
        if turned or not (connected and connected[1]) and not _told_apart(judge, one, other):
            judge.tell(kind, name, "said of the picture" if turned else "may hold both ways round")
            continue
        first, second = (_formed(judge, other, one.form), _formed(judge, one, other.form))
        if first and second:
            yield [Change(one, first), Change(other, second)], None
        else:
            judge.tell(kind, name, "never seen in the other's number and article")


def _told_apart(judge, one, other):
    """Whether two nouns, next to each other by "and", have adjectives that exclude each other."""
    nouns, adjectives = judge.reading.of("noun"), judge.reading.of("adj")
    if abs(nouns.index(one) - nouns.index(other)) != 1:
        return False
    mine, yours = ([a for a in adjectives if nouns[a.head] is noun] for noun in (one, other))
    swapped = {(a.lemma, other.lemma) for a in mine} | {(a.lemma, one.lemma) for a in yours}
    if swapped & judge.picture.described:
        return False
    return any(judge.exclusive(a.lemma, b.lemma) for a in mine for b in yours)


def _formed(judge, slot, form):
    """A noun in another number, as the data set writes it in that number and with that article."""
    modifiers, space, last = slot.lemma.rpartition(" ")
    seen = judge.vocabulary.forms.get(f"noun|{form}", {})
    if slot.lemma in seen:
        return seen[slot.lemma]
    return modifiers + space + seen[last] if last in seen else None


def _exchange_adjectives(judge, kind, rng, fill):
    """Two adjectives of different nouns change places."""
    reading, nouns = judge.reading, judge.reading.of("noun")
    pairs = [pair for pair in _in_order(reading.of("adj")) if pair[0].head != pair[1].head]
    for one, other in rng.sample(pairs, len(pairs)):
        name = f"{one.lemma} <-> {other.lemma}"
        heads = nouns[one.head], nouns[other.head]
        if not judge.exclusive(one.lemma, other.lemma):
            judge.tell(kind, name, "both may be true of both")
        elif judge.alike("noun", one.near, other.near) and not _apart(reading, *heads):
            judge.tell(kind, name, f"{one.near} and {other.near} may be the same")
        elif _said_of_other(judge, one, other) or _said_of_other(judge, other, one):
            judge.tell(kind, name, "said of the picture")
        else:
            yield [Change(one, other.lemma), Change(other, one.lemma)], None


def _apart(reading, one, other):
    """Whether a relation that holds one way round stands between two nouns."""
    connected = slots.connection(reading, *sorted((one, other)))
    return bool(connected and connected[1])


def _said_of_other(judge, adjective, other):
    """Whether a caption says of the other's noun what this adjective says, or the like."""
    return any(
        judge.alike("noun", noun, other.near) and judge.alike("adj", word, adjective.lemma)
        for word, noun in judge.picture.described
        if (word, noun) != (adjective.lemma, adjective.near)
    )


_EDITS = {
    "relation": _exchange_nouns,
    "adj_swap": _exchange_adjectives,
    "adj": _replace,
    "noun": _replace,
    "verb": _replace,
}
