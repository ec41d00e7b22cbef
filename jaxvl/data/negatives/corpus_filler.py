"""Words drawn from the data set's own captions: seen in the same form and after the same word."""

import bisect
import functools
import itertools
import random
from collections.abc import Iterator

from jaxvl.data.negatives.filler import (
    Candidate,
    Example,
    Fill,
    FillerComponent,
    FillerInputs,
    Prepare,
)
from jaxvl.data.negatives.languages import LANGUAGES
from jaxvl.data.negatives.reading import Slot

_DRAWS = 40
_FLATTENED = 0.75  # power of a word's count, as word2vec draws its negatives


def make_corpus_filler(inputs: FillerInputs) -> Prepare:
    """Returns `Filler.prepare`; the score is the word's share of all words seen in the context."""
    vocabulary = inputs.vocabulary
    adjectives = LANGUAGES[vocabulary.language].adjectives

    @functools.cache
    def table(key):
        choices = vocabulary.near.get(key, [])
        weights = [count**_FLATTENED for _, count in choices]
        return choices, list(itertools.accumulate(weights)), sum(count for _, count in choices)

    @functools.cache
    def usual(part, context):
        return frozenset(vocabulary.far.get(f"{part}|{context}", ()))

    def fill(caption: str, slot: Slot, rng: random.Random) -> Iterator[Candidate]:
        del caption
        forms = vocabulary.forms.get(f"{slot.part}|{slot.form}", {})
        choices, cumulative, total = table(f"{slot.part}|{slot.form}|{slot.near}")
        seen, unusual = set(), []
        for _ in range(_DRAWS if choices else 0):
            at = bisect.bisect(cumulative, rng.random() * cumulative[-1])
            lemma, count = choices[min(at, len(choices) - 1)]
            if lemma not in seen:
                seen.add(lemma)
                drawn = lemma, forms[lemma], round(count / total, 6)
                if slot.part == "adj" or lemma in usual(slot.part, slot.far):
                    yield drawn
                else:
                    unusual.append(drawn)
        yield from unusual
        if slot.part == "adj":  # its opposite may never have been said of this noun
            mates = adjectives(slot, forms)
            for lemma, text in rng.sample(mates, len(mates)):
                if lemma not in seen:
                    yield lemma, text, 0.0

    def prepare(examples: list[Example]) -> Fill:
        del examples
        return fill

    return prepare


CORPUS = FillerComponent(make_corpus_filler, meaning="the data set's own captions")
