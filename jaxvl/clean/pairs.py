"""Which attributes the captions give to which things, and which of these pairs are too few.

The words are those that hard negatives are made of (`jaxvl.data.negatives`).
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jaxvl.data.negatives.languages import LANGUAGES, named_language
from jaxvl.data.negatives.lexicon import Lexicon
from jaxvl.data.negatives.reading import Reading, Slot

KINDS = ("colour", "size", "pattern", "material", "shape")  # that can be seen of most things
_CAPTIONS = 20_000  # that are read; more change the shares little, and reading takes time
_EXPECTED = 10.0  # least number of images with a pair, were its words independent
_FEW = 0.2  # largest share of these that the images have


class Pair(NamedTuple):
    """An attribute that a thing is given: in how many images, and in how many it was expected.

    of: the thing, or another attribute that the same thing has ("small" of "small red cup").
    expected: if this were like all that is described, see `too_few`.
    """

    attribute: str
    of: str
    images: int
    expected: float


class Pairs(NamedTuple):
    """Pairs of words in the captions.

    language: a name in LANGUAGES. images: number that was read. attributes, things: how many images
    have each, the most frequent first. table: {(attribute, thing): images}. few: see `too_few`.
    """

    language: str
    images: int
    attributes: dict[str, int]
    things: dict[str, int]
    table: dict[tuple[str, str], int]
    few: list[Pair]


def count(captions_I: Sequence[Sequence[str]]) -> Pairs:
    """Returns the Pairs of the captions of each image, of about 20,000 captions at most.

    Raises UserError where their language has no rules, or its packages are not installed.
    """
    total = sum(map(len, captions_I))
    captions_I = captions_I[:: max(1, -(-total // _CAPTIONS))]
    flat = [caption for captions in captions_I for caption in captions]
    name = named_language(flat[:1000])
    language = LANGUAGES[name]
    language.check_installed()
    found = iter(map(language.read, language.analyse(flat)))
    readings_I = [list(itertools.islice(found, len(captions))) for captions in captions_I]
    return conclude(name, readings_I, language.lexicon)


def conclude(language: str, readings_I: Sequence[Sequence[Reading]], lexicon: Lexicon) -> Pairs:
    """Returns the Pairs of the readings of each image's captions."""
    name = _names((each for readings in readings_I for each in readings), lexicon)
    things: Counter[str] = Counter()
    described: Counter[tuple[str, str, str]] = Counter()
    for readings in readings_I:
        things.update({_thing(slot) for reading in readings for slot in reading.of("noun")})
        described.update({each for reading in readings for each in _described(reading, name)})
    attributes = Counter()
    for (_, value, of), number in described.items():
        attributes[value] += 0 if of or not value else number
    table = {
        (value, of): number
        for (_, value, of), number in described.items()
        if value and of in things
    }
    return Pairs(
        language, len(readings_I), _ranked(+attributes), _ranked(things), table, too_few(described)
    )


def _names(readings: Iterable[Reading], lexicon: Lexicon) -> dict[str, tuple[str, str]]:
    """Returns {adjective: (kind, the most frequent adjective that says the same)}."""
    counts = Counter(slot.lemma for reading in readings for slot in reading.of("adj"))
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        named = lexicon.named(word)
        kind = next((kind for kind in KINDS if kind in named), "")
        if kind:
            groups[kind, named[kind]].append(word)
    return {word: (kind, words[0]) for (kind, _), words in groups.items() for word in words}


def _described(
    reading: Reading, name: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, str, str]]:
    """Yields (kind, value, of): a thing, or what another attribute says of it, has an attribute.

    With value "" it has one of this kind, with of "" something has it.
    """
    of: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for slot in reading.of("adj"):
        if slot.lemma in name:
            of[slot.head].append(name[slot.lemma])
    for head, attributes in of.items():
        for kind, value in attributes:
            # Of two attributes only the later kind counts as what is described.
            others = [word for k, word in attributes if KINDS.index(k) > KINDS.index(kind)]
            for each in ("", _thing(reading.slots[head]), *others):
                yield kind, value, each
                yield kind, "", each


def too_few(described: Mapping[tuple[str, str, str], int]) -> list[Pair]:
    """Returns the pairs that are far fewer than expected, those that lack most images first.

    described: {(kind, value, of): images}, of a value "" all of its kind, of an `of` "" all things.
    Expected is as many as if each colour were as frequent of these things as it is of all things.
    """
    values = {(kind, value) for kind, value, _ in described if value}
    found = []
    for kind, value in values:
        share = described[kind, value, ""] / described[kind, "", ""]
        for (of_kind, any_value, of), number in described.items():
            if of_kind == kind and not any_value and of:
                pair = Pair(value, of, described.get((kind, value, of), 0), share * number)
                if pair.expected >= _EXPECTED and pair.images <= _FEW * pair.expected:
                    found.append(pair)
    return sorted(found, key=lambda pair: (pair.images - pair.expected, pair))


def _thing(slot: Slot) -> str:
    return slot.lemma.rpartition(" ")[2]


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
