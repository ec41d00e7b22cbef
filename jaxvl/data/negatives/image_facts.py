"""What the captions of an image say about it: the facts that a change must contradict."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from jaxvl.data.negatives.languages import LANGUAGES
from jaxvl.data.negatives.reading import Reading
from jaxvl.data.negatives.vocabulary import Vocabulary
from jaxvl.data.text.clean import clean_caption

_MAX_WORDS = 10_000  # of a caption that is compared with others


class ImageFacts(NamedTuple):
    """What is known of an image from its captions.

    captions: as written. readings: of each caption.
    mentioned: {part of speech: lemmas in the captions}.
    implied: {part of speech: lemmas that may be true because of those}.
    texts: the captions, cleaned.
    described: pairs (adjective, noun). related: triples (noun, connection, noun).
    """

    captions: Sequence[str]
    readings: Sequence[Reading]
    mentioned: dict[str, set[str]]
    implied: dict[str, set[str]]
    texts: set[str]
    described: set[tuple[str, str]]
    related: set[tuple[str, str, str]]


def facts_of(
    captions: Sequence[str], readings: Sequence[Reading], vocabulary: Vocabulary
) -> ImageFacts:
    """Returns the facts about the image of these captions."""
    language = LANGUAGES[vocabulary.language]
    mentioned: dict[str, set[str]] = {part: set() for part in ("noun", "adj", "verb")}
    described, related = set(), set()
    for reading in readings:
        for slot in reading.slots:
            mentioned[slot.part] |= {slot.lemma, slot.lemma.rpartition(" ")[2]}
            if slot.part == "adj":
                described.add((slot.lemma, slot.near))
        for one, other in itertools.combinations(reading.of("noun"), 2):
            connected = language.connection(reading, one, other)
            if connected:
                related.add((one.lemma, connected.words, other.lemma))
        lemmas = {token.lemma for token in reading.tokens}
        mentioned["noun"] |= lemmas - mentioned["verb"]
    implied = {
        part: set().union(
            *(language.lexicon.companions(part, lemma) for lemma in lemmas),
            *(vocabulary.confused[part].get(lemma, ()) for lemma in lemmas),
        )
        for part, lemmas in mentioned.items()
    }
    texts = {cleaned(caption) for caption in captions}
    return ImageFacts(captions, readings, mentioned, implied, texts, described, related)


def cleaned(text: str) -> str:
    """Returns the text as it is compared with others: lower case, without punctuation."""
    return clean_caption(text, max_words=_MAX_WORDS)
