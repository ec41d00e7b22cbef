"""What a caption says, read back from its words, and whether it is true of a scene."""

from typing import NamedTuple

from jaxvl.data.scenes.vocabulary import ARTICLES, FILLERS, LEXICON, PHRASES
from jaxvl.data.scenes.world import relation_holds
from jaxvl.data.text.clean import clean_caption

_LONGEST = max(map(len, PHRASES))
_STARTS = frozenset(phrase[0] for phrase in PHRASES)
_MAX_WORDS = 100


class Statement(NamedTuple):
    """There are different things of these descriptions, in these relations.

    descriptions: dict of attribute kind -> value for each thing, "shape" among them.
    relations: (subject, relation, object), positions in `descriptions`.
    """

    descriptions: tuple[dict, ...]
    relations: tuple[tuple[int, str, int], ...]


def parse(caption):
    """Reads a caption of the Scenes grammar: a Statement, or None where it is not one."""
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
                fronted = name  # "left of a ring is a star": what stands there comes second
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


def readings(statement, world):
    """Which thing each description may mean: a list of (things, True or None), not the false ones.

    None stands for a reading that depends on a debatable relation.
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


def _fits(thing, description):
    for kind, value in description.items():
        if getattr(thing, kind) != value:
            return False
    return True


def _different(candidates):
    """All ways to take one of each list without taking anything twice."""
    if not candidates:
        return [()]
    return [
        (first, *rest)
        for first in candidates[0]
        for rest in _different([[c for c in others if c != first] for others in candidates[1:]])
    ]


def judge(statement, world):
    """Whether a statement is true of a scene: True, False, or None if debatable."""
    verdicts = [verdict for _, verdict in readings(statement, world)]
    return True if True in verdicts else None if verdicts else False


def holds(caption, world):
    """Whether a caption is true of a scene: True, False, or None if debatable or not understood.

    caption: text of the Scenes grammar, for instance a negative made by another program.
    """
    statement = parse(caption)
    return None if statement is None else judge(statement, world)
