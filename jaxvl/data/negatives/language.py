"""What a language brings for making hard negatives; `languages.LANGUAGES` lists them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from jaxvl.data.negatives.lexicon import Lexicon
from jaxvl.data.negatives.reading import Connection, Reading, Slot, Token

Seen = Mapping[str, str]  # {lemma: the word as the data set writes it} of a form


class Language(NamedTuple):
    """The rules of a language.

    check_installed: raises UserError where a package is missing.
    analyse: captions -> their tokens. read: tokens -> Reading.
    connection: (reading, noun, later noun) -> how they are related, None where it is unclear.
    lexicon: its short lists of words.
    noun_at: (caption, slot, place, seen) -> the noun of `slot` as it is written at another noun's
      place, None where that is unknown. seen: the nouns in that form.
    adjective_at: (caption, slot, place) -> the same of an adjective.
    is_noun: (slot, seen) -> whether what the tagger took for a noun is one.
    adjectives: (slot, seen) -> (lemma, word as it is written) of listed adjectives that contradict
      this one, in its form.
    articles: words that change with the word behind them.
    no_fillers: names in FILLERS that do not know the language.
    least_count: occurrences of a word in a form, for it to be put in; fewer may be mistakes.
    """

    check_installed: Callable[[], None]
    analyse: Callable[[Sequence[str]], list[list[Token]]]
    read: Callable[[Sequence[Token]], Reading]
    connection: Callable[[Reading, Slot, Slot], Connection | None]
    lexicon: Lexicon
    noun_at: Callable[[str, Slot, Slot, Seen], str | None]
    adjective_at: Callable[[str, Slot, Slot], str | None]
    is_noun: Callable[[Slot, Seen], bool]
    adjectives: Callable[[Slot, Seen], list[tuple[str, str]]]
    articles: Collection[str] = frozenset()
    no_fillers: Collection[str] = frozenset()
    least_count: int = 3
