"""Parses a caption of Scenes, and decides whether it is true of a scene."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxvl.data.scenes.vocabulary import ARTICLES, FILLERS, LEXICON, PHRASES
from jaxvl.data.scenes.world import Thing, World, relation_holds
from jaxvl.data.text.clean import clean_caption

_LONGEST = max(map(len, PHRASES))
_STARTS = frozenset(phrase[0] for phrase in PHRASES)
_MAX_WORDS = 100


class Statement(NamedTuple):
    """The meaning of a caption: there are different things of these descriptions and relations.

    descriptions: {attribute kind: value} of each thing, "shape" among the kinds.
    relations: (subject, relation, object); subject and object are positions in `descriptions`.
    """

    descriptions: tuple[Mapping[str, str], ...]
    relations: tuple[tuple[int, str, int], ...]


def parse(caption: str) -> Statement | None:
    """Returns the meaning of a caption, or None where the Scenes grammar cannot read it."""
    words = clean_caption(caption, max_words=_MAX_WORDS).split()
    descriptions, relations = [], []
    pending, waiting, fronted, predicate = {}, None, None, False
    at = 0
    while at < len(words):
        length, name = _relation_at(words, at) if words[at] in _STARTS else (0, None)
        if name:
            if pending or waiting or fronted and len(descriptions) == 1:
                return None
            if descriptions:
                waiting = name
            else:
                fronted = name  # "left of a ring is a star": the subject comes second
            predicate = False
            at += length
            continue
        word = words[at]
        at += 1
        kind, value = LEXICON.get(word, (None, None))
        if kind == "shape":
            descriptions.append({**pending, "shape": value})
            last = len(descriptions) - 1
            if waiting:
                relations.append((last - 1, waiting, last))
            if fronted and last == 1:
                relations.append((1, fronted, 0))
            pending, waiting, predicate = {}, None, False
        elif kind:
            target = descriptions[-1] if predicate else pending
            if kind in target:
                return None
            target[kind] = value
        elif word == "is":
            predicate = bool(descriptions)  # "a star that is red"
        elif word in ARTICLES:
            predicate = False
        elif word not in FILLERS:
            return None
    if pending or waiting or not descriptions or fronted and len(descriptions) < 2:
        return None
    return Statement(tuple(descriptions), tuple(relations))


def _relation_at(words, at):
    for length in range(min(_LONGEST, len(words) - at), 0, -1):
        name = PHRASES.get(tuple(words[at : at + length]))
        if name:
            return length, name
    return 0, None


def readings(statement: Statement, world: World) -> list[tuple[tuple[int, ...], bool | None]]:
    """Returns every assignment of things to descriptions that is not false: (things, verdict).

    verdict: True, or None where the reading depends on a debatable relation.
    """
    candidates = [
        [i for i, thing in enumerate(world.things) if _fits(thing, description)]
        for description in statement.descriptions
    ]
    found = []
    for chosen in _different(candidates):
        verdicts = [
            relation_holds(world, chosen[i], name, chosen[j]) for i, name, j in statement.relations
        ]
        if False not in verdicts:
            found.append((chosen, None if None in verdicts else True))
    return found


def _fits(thing: Thing, description: Mapping[str, str]) -> bool:
    for kind, value in description.items():
        if getattr(thing, kind) != value:
            return False
    return True


def _different(candidates):
    """Returns all ways to take one element of each list without taking any twice."""
    if not candidates:
        return [()]
    return [
        (first, *rest)
        for first in candidates[0]
        for rest in _different([[c for c in others if c != first] for others in candidates[1:]])
    ]


def judge(statement: Statement, world: World) -> bool | None:
    """Returns whether a statement is true of a scene: True, False, or None if debatable."""
    verdicts = [verdict for _, verdict in readings(statement, world)]
    return True if True in verdicts else None if verdicts else False


def holds(caption: str, world: World) -> bool | None:
    """Returns whether a caption is true of a scene; None if debatable or not in the grammar.

    caption: any text, for instance a negative that another program made.
    """
    statement = parse(caption)
    return None if statement is None else judge(statement, world)
