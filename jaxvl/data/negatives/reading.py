"""What is read in a caption, in any language: its tokens, and the words that can be changed."""

from collections.abc import Sequence
from typing import NamedTuple


class Token(NamedTuple):
    """A word of a caption.

    start, end: characters. word: in lower case. tag: its part of speech, in the language's own
    terms. lemma: dictionary form.
    """

    start: int
    end: int
    word: str
    tag: str
    lemma: str


class Slot(NamedTuple):
    """A word, or a few nouns in a row ("tennis ball"), by its place in the caption.

    part: "noun", "adj" or "verb".
    first, last: numbers of the tokens. start, end: characters.
    lemma: the last word of several, behind the last blank, says what the thing is.
    form: part of speech, number and article, or ending. A replacement has been seen in the same
    form.
    near: the context that a replacement must have been seen in. far: one that it should have been
    seen in.
    head: of an adjective, the number of its noun among the slots; else -1.
    """

    part: str
    first: int
    last: int
    start: int
    end: int
    lemma: str
    form: str
    near: str
    far: str
    head: int = -1


class Reading(NamedTuple):
    """A caption's tokens and its slots, nouns first."""

    tokens: Sequence[Token]
    slots: list[Slot]

    def of(self, part: str) -> list[Slot]:
        """Returns the slots of one part of speech."""
        return [slot for slot in self.slots if slot.part == part]


class Connection(NamedTuple):
    """The words between two nouns, and whether the relation holds in one direction only."""

    words: str
    one_way: bool
