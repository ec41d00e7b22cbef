"""Statistics of a data set's captions: which words stand where, and which mean the same.

The counts are integers that are added up, so the order and the number of processes do not matter.
The Vocabulary is made from them and stored as JSON beside the negatives.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxvl.data.negatives.languages import LANGUAGES
from jaxvl.data.negatives.reading import Reading

MAX_CHOICES = 300  # words kept for a context, the most frequent ones
_CONFUSED_LIFT = 4.0  # least alternation of two synonyms, as a multiple of chance
_CONFUSED_SHARE = 0.04  # least share of the rarer word's alternations
_CONFUSED_COUNT = 3  # least number of alternations of the pair
_CONFUSED_TOTAL = 20  # least number of alternations of the rarer word
_EXCLUSIVE_EXPECTED = 5.0  # least expected number of times that two unrelated adjectives meet
_EXCLUSIVE_LIFT = 0.1  # largest share of those meetings that exclusive adjectives have


class Vocabulary(NamedTuple):
    """The words that a data set uses, by form and context.

    near: {"part|form|context": [(lemma, count), ...]}, most frequent first.
    far: {"part|context": lemmas}.
    forms: {"part|form": {lemma: the word as it is written}}.
    confused: {part: {lemma: lemmas}}, words that captions of one image use for the same thing.
    exclusive: {adjective: adjectives}; a noun has only one of the two.
    language: a name in LANGUAGES.
    """

    near: Mapping[str, Sequence[tuple[str, int]]]
    far: Mapping[str, Sequence[str]]
    forms: Mapping[str, Mapping[str, str]]
    confused: Mapping[str, Mapping[str, Sequence[str]]]
    exclusive: Mapping[str, Sequence[str]]
    language: str = "english"


class Counts(NamedTuple):
    """Counters that can be added; see `count`."""

    forms: Counter
    near: Counter
    far: Counter
    alternating: Counter
    describing: Counter


def no_counts() -> Counts:
    """Returns empty Counts."""
    return Counts(*(Counter() for _ in Counts._fields))


def count(counts: Counts, readings: Sequence[Reading]) -> None:
    """Adds the captions of one image to the counts."""
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


def add(counts: Counts, more: Counts) -> None:
    """Adds the counts `more` to `counts`."""
    for total, part in zip(counts, more):
        total.update(part)


def conclude(counts: Counts, language: str = "english") -> Vocabulary:
    """Returns the Vocabulary of the counts."""
    written, least = defaultdict(Counter), LANGUAGES[language].least_count
    for (part, form, lemma, text), number in counts.forms.items():
        written[f"{part}|{form}", lemma][text] += number
    forms, no_nouns = defaultdict(dict), _mistaken(counts.forms)
    for (key, lemma), texts in sorted(written.items()):
        mistaken = key.startswith("noun") and lemma.rpartition(" ")[2] in no_nouns
        if texts.total() >= least and not mistaken:
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
        language=language,
    )


def _mistaken(forms):
    """Returns words that are verbs more often than nouns; the tagger takes "jump" for a noun."""
    uses = {"noun": Counter(), "verb": Counter(), "adj": Counter()}
    for (part, _, lemma, _), number in forms.items():
        uses[part][lemma] += number
    return {lemma for lemma, number in uses["verb"].items() if number > uses["noun"][lemma]}


def _confused(alternating):
    """Returns words that replace each other in captions of one image far more than by chance."""
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
    """Returns adjectives that described one noun together far more rarely than by chance."""
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


def to_json(vocabulary: Vocabulary) -> str:
    """Returns a Vocabulary as text; equal ones give equal texts."""
    stored = vocabulary._asdict()
    if vocabulary.language == "english":  # as it was before there were others
        del stored["language"]
    return json.dumps(stored, ensure_ascii=False, sort_keys=True) + "\n"


def from_json(text: str) -> Vocabulary:
    """Returns the Vocabulary that `to_json` wrote."""
    return Vocabulary(**json.loads(text))
