"""Statistics of a data set's captions: which words stand where, and which mean the same.

Integer counts that are added up, so that neither order nor number of processes matters; then a
Vocabulary, as JSON beside the negatives.
"""

import itertools
import json
from collections import Counter, defaultdict
from typing import NamedTuple

MIN_COUNT = 3  # of a word in a form, to be put in
MAX_CHOICES = 300  # most frequent words kept of a context
_CONFUSED_LIFT = 4.0  # alternation of two words, over chance, that makes them synonyms
_CONFUSED_SHARE = 0.04  # least share of a word's alternations
_CONFUSED_COUNT = 3
_CONFUSED_TOTAL = 20  # alternations of the rarer word; below it says nothing
_EXCLUSIVE_EXPECTED = 5.0  # times two adjectives should have met on one noun, were they unrelated
_EXCLUSIVE_LIFT = 0.1  # and how often they did, at most


class Vocabulary(NamedTuple):
    """What words are drawn from.

    near: {"part|form|context": [(lemma, count), ...]}, most frequent first. far: {"part|context":
    lemmas}. forms: {"part|form": {lemma: the word as written}}. confused: {part: {lemma: lemmas}},
    words by which different captions of one picture call the same thing. exclusive: {adjective:
    adjectives} that a noun has only one of.
    """

    near: dict
    far: dict
    forms: dict
    confused: dict
    exclusive: dict


class Counts(NamedTuple):
    """Counters that can be added: see `count`."""

    forms: Counter
    near: Counter
    far: Counter
    alternating: Counter
    describing: Counter


def no_counts():
    """Returns Counts of nothing."""
    return Counts(*(Counter() for _ in Counts._fields))


def count(counts, readings):
    """Adds the captions of one picture, as `slots.Reading`s, to the counts."""
    for reading in readings:
        together = defaultdict(list)
        for slot in reading.slots:
            written = " ".join(t.word for t in reading.tokens[slot.first : slot.last + 1])
            counts.forms[slot.part, slot.form, slot.lemma, written] += 1
            counts.near[slot.part, slot.form, slot.near, slot.lemma] += 1
            if slot.part != "adj":
                counts.far[slot.part, slot.far, slot.lemma] += 1
            else:
                together[slot.head].append(slot.lemma)
        for described in together.values():
            for pair in itertools.combinations(sorted(described), 2):
                counts.describing[pair] += 1
    for part in ("noun", "adj", "verb"):
        said = [{slot.lemma for slot in reading.slots if slot.part == part} for reading in readings]
        for one, other in itertools.combinations(said, 2):
            for pair in itertools.product(one - other, other - one):
                counts.alternating[(part, *sorted(pair))] += 1


def add(counts, more):
    """Adds the counts `more` to `counts`."""
    for total, part in zip(counts, more):
        total.update(part)


def conclude(counts):
    """The Vocabulary of some Counts."""
    written = defaultdict(Counter)
    for (part, form, lemma, text), number in counts.forms.items():
        written[f"{part}|{form}", lemma][text] += number
    forms, no_nouns = defaultdict(dict), _mistaken(counts.forms)
    for (key, lemma), texts in sorted(written.items()):
        mistaken = key.startswith("noun") and lemma.rpartition(" ")[2] in no_nouns
        if texts.total() >= MIN_COUNT and not mistaken:
            forms[key][lemma] = min(texts, key=lambda text: (-texts[text], text))
    near, far = defaultdict(list), defaultdict(set)
    for (part, form, context, lemma), number in counts.near.items():
        if lemma in forms.get(f"{part}|{form}", ()):
            near[f"{part}|{form}|{context}"].append((lemma, number))
    for (part, context, lemma), number in counts.far.items():
        if number > 1:
            far[f"{part}|{context}"].add(lemma)
    return Vocabulary(
        near={
            key: sorted(found, key=lambda pair: (-pair[1], pair[0]))[:MAX_CHOICES]
            for key, found in sorted(near.items())
            if len(found) > 1
        },
        far={key: sorted(found) for key, found in sorted(far.items())},
        forms=dict(forms),
        confused=_confused(counts.alternating),
        exclusive=_exclusive(counts.describing),
    )


def _mistaken(forms):
    """Words that are verbs more often than nouns: the tagger's "two dogs jump", all nouns."""
    uses = {"noun": Counter(), "verb": Counter(), "adj": Counter()}
    for (part, _, lemma, _), number in forms.items():
        uses[part][lemma] += number
    return {lemma for lemma, number in uses["verb"].items() if number > uses["noun"][lemma]}


def _confused(alternating):
    """Words that stand for each other in captions of one picture far more often than chance."""
    totals, all_of = Counter(), Counter()
    for (part, one, other), number in alternating.items():
        totals[part, one] += number
        totals[part, other] += number
        all_of[part] += 2 * number
    found = {part: defaultdict(list) for part in ("noun", "adj", "verb")}
    for (part, one, other), number in sorted(alternating.items()):
        rarer, more = sorted((totals[part, one], totals[part, other]))
        lift = number * all_of[part] / (rarer * more)
        if min(number / _CONFUSED_COUNT, rarer / _CONFUSED_TOTAL) >= 1 and lift >= _CONFUSED_LIFT:
            if number >= _CONFUSED_SHARE * rarer:
                found[part][one].append(other)
                found[part][other].append(one)
    return {part: dict(sorted(pairs.items())) for part, pairs in found.items()}


def _exclusive(describing):
    """Adjectives that might often have described one noun together, and hardly ever did."""
    totals, total = Counter(), 2 * describing.total()
    for (one, other), number in describing.items():
        totals[one] += number
        totals[other] += number
    found = defaultdict(list)
    for one, other in itertools.combinations(sorted(totals), 2):
        expected = totals[one] * totals[other] / total
        met = describing.get((one, other), 0)
        if expected >= _EXCLUSIVE_EXPECTED and met <= _EXCLUSIVE_LIFT * expected:
            found[one].append(other)
            found[other].append(one)
    return dict(sorted(found.items()))


def to_json(vocabulary):
    """A Vocabulary as text: the same one gives the same text."""
    return json.dumps(vocabulary._asdict(), ensure_ascii=False, sort_keys=True) + "\n"


def from_json(text):
    """The Vocabulary that `to_json` wrote."""
    return Vocabulary(**json.loads(text))
