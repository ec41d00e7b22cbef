"""Short lists of a language's words, as lemmas: which can be true together, and which cannot.

A word in none of the lists is judged by the data set's own captions (`vocabulary.py`).
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache

AttributeLists = Mapping[str, Iterable[str]]


class Lexicon:
    """The lists of a language, and what they say of two words.

    attributes: {kind: values}, each value a group of words with the same meaning. A thing has one
      value of a kind; a word is replaced only by a word of another group of its kind.
    together: {part of speech: groups} of words that may name one thing, or things that are often in
      the same place. A word is not replaced by another one of its group.
    people: {noun: sex (m, f) and age (+, -)} as far as the word says. One replaces another only
      where the two contradict each other.
    vague: {part of speech: words} that are too general to contradict anything.
    untouched_nouns: nouns that are never replaced.
    """

    def __init__(
        self,
        *,
        attributes: AttributeLists,
        together: Mapping[str, Iterable[str]],
        people: Mapping[str, str],
        vague: Mapping[str, Collection[str]],
        untouched_nouns: Collection[str],
    ):
        self.people, self.vague, self.untouched_nouns = people, vague, untouched_nouns
        self._groups = {part: _groups(lists) for part, lists in together.items()}
        self._values: dict[str, dict[str, int]] = {}
        self._names: dict[tuple[str, int], str] = {}
        for kind, lists in attributes.items():
            for word, numbers in _groups(lists).items():
                self._values.setdefault(word, {})[kind] = min(numbers)
                self._names.setdefault((kind, min(numbers)), word)
        self.mates = cache(self.mates)
        self.companions = cache(self.companions)

    def kinds_of(self, adjective: str) -> Collection[str]:
        """Returns the attribute kinds that an adjective is a value of; none where unlisted."""
        return self._values.get(adjective, {}).keys()

    def named(self, adjective: str) -> dict[str, str]:
        """Returns {kind: the first word of the group}: what the adjective says, by one name."""
        values = self._values.get(adjective, {})
        return {kind: self._names[kind, number] for kind, number in values.items()}

    def is_colour(self, word: str) -> bool:
        """Returns whether a word names a colour, also as a noun ("a boy in red")."""
        return "colour" in self.kinds_of(word)

    def mates(self, adjective: str) -> list[str]:
        """Returns the listed words with another value of a kind of this one, sorted."""
        return sorted(word for word in self._values if self.contradict(adjective, word))

    def contradict(self, one: str, other: str) -> bool:
        """Returns whether two listed adjectives share a kind, and differ in each they share."""
        a, b = self._values.get(one, {}), self._values.get(other, {})
        shared = a.keys() & b.keys()
        return bool(shared) and all(a[kind] != b[kind] for kind in shared)

    def companions(self, part: str, word: str) -> frozenset[str]:
        """Returns words that may be true of the same thing or place, without nouns for people."""
        if part == "adj":
            mine = self._values.get(word, {}).items()
            return frozenset(o for o, values in self._values.items() if mine & values.items())
        groups = self._groups[part]
        mine = groups.get(word, set())
        return frozenset(other for other, numbers in groups.items() if mine & numbers)

    def may_be_the_same(self, part: str, one: str, other: str) -> bool:
        """Returns whether both words may be true of one thing or place, by the lists."""
        if one == other:
            return True
        if part == "noun" and one in self.people and other in self.people:
            return not _opposed(self.people[one], self.people[other])
        return other in self.companions(part, one)


def _groups(lists: Iterable[str]) -> dict[str, set[int]]:
    """Returns {word: the numbers of its groups}."""
    found: dict[str, set[int]] = {}
    for number, words in enumerate(lists):
        for word in words.split():
            found.setdefault(word, set()).add(number)
    return found


def _opposed(one: str, other: str) -> bool:
    return any(
        (a in one and b in other) or (b in one and a in other) for a, b in (("m", "f"), ("+", "-"))
    )
