"""Hard negatives of Scenes: a caption with one change that makes it false of the scene."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from jaxvl.data.scenes.captions import Draft, Noun, Relation, write
from jaxvl.data.scenes.levels import Level
from jaxvl.data.scenes.truth import Statement, judge, parse
from jaxvl.data.scenes.vocabulary import ATTRIBUTES, HELD_OUT, INVERSE, LEXICON
from jaxvl.data.scenes.world import World

Negative = tuple[str, str, int]  # text, kind, index of the caption that was changed
Edit = Callable[[Draft, Level, random.Random], Iterator[Draft]]

# Weights by which a replaced relation is drawn. They follow how often captions use each relation,
# so that the relation alone does not reveal that a text is a negative.
_USUAL = {
    "left": 4,
    "right": 4,
    "above": 4,
    "below": 4,
    "inside": 2,
    "around": 2,
    "front": 2,
    "behind": 2,
}


def contradict(
    captions: list[str],
    drafts: list[Draft],
    world: World,
    level: Level,
    rng: random.Random,
    *,
    unseen: bool,
) -> list[Negative]:
    """Returns one negative of each kind that the captions allow.

    drafts: the captions in parts. unseen: whether held-out pairs may be named.
    """
    found, taken = [], set(captions)
    for kind, edits in EDITS.items():
        for index in rng.sample(range(len(drafts)), len(drafts)):
            text = _first_false(edits(drafts[index], level, rng), world, taken, unseen)
            if text:
                taken.add(text)
                found.append((text, kind, index))
                break
    return found


def contradict_others(
    found: list[Negative],
    captions: list[str],
    drafts: list[Draft],
    world: World,
    level: Level,
    rng: random.Random,
    *,
    unseen: bool,
) -> list[Negative]:
    """Returns a negative of each pair of kind and caption that is not in `found` and is possible.

    The other arguments are those of `contradict`.
    """
    others, taken = [], set(captions) | {text for text, _, _ in found}
    missing = {(kind, index) for kind in EDITS for index in range(len(drafts))}
    for kind, index in sorted(missing - {(kind, index) for _, kind, index in found}):
        text = _first_false(EDITS[kind](drafts[index], level, rng), world, taken, unseen)
        if text:
            taken.add(text)
            others.append((text, kind, index))
    return others


def _first_false(
    candidates: Iterable[Draft], world: World, taken: set[str], unseen: bool
) -> str | None:
    for parts in candidates:
        text, _ = write(parts)
        statement = parse(text)
        if statement is None or text in taken or not unseen and _names_held_out(statement):
            continue
        if judge(statement, world) is False:
            return text
    return None


def _names_held_out(statement: Statement) -> bool:
    return any((d.get("colour"), d["shape"]) in HELD_OUT for d in statement.descriptions)


def _nouns(parts):
    return [k for k, part in enumerate(parts) if isinstance(part, Noun)]


def _with(parts, changes):
    return [changes.get(k, part) for k, part in enumerate(parts)]


def _reworded(noun, kind, word):
    return noun._replace(words={**noun.words, kind: word})


def _swap_attribute(parts, level, rng):
    """Yields drafts in which two nouns have exchanged their words of one attribute kind."""
    nouns = _nouns(parts)
    options = [
        (i, j, kind)
        for i in nouns
        for j in nouns
        for kind in ATTRIBUTES
        if i < j and kind in parts[i].words and kind in parts[j].words
    ]
    for i, j, kind in rng.sample(options, len(options)):
        one, other = parts[i].words[kind], parts[j].words[kind]
        yield _with(parts, {i: _reworded(parts[i], kind, other), j: _reworded(parts[j], kind, one)})


def _replace_word(kinds: Sequence[str]) -> Edit:
    def edited(parts, level, rng):
        """Yields drafts in which a noun's word of one of these kinds has another meaning."""
        options = [(i, kind) for i in _nouns(parts) for kind in kinds if kind in parts[i].words]
        for i, kind in rng.sample(options, len(options)):
            meant = LEXICON[parts[i].words[kind]][1]
            others = [value for value in level.words[kind] if value != meant]
            for value in rng.sample(others, len(others)):
                word = rng.choice(level.words[kind][value])
                yield _with(parts, {i: _reworded(parts[i], kind, word)})

    return edited


def _related(parts):
    """Yields the positions (relation, subject, object) of each relation."""
    nouns = _nouns(parts)
    for k, part in enumerate(parts):
        if isinstance(part, Relation):
            after = [n for n in nouns if n > k]
            yield (k, *after[:2]) if part.fronted else (k, max(n for n in nouns if n < k), after[0])


def _swap_relation(parts, level, rng):
    """Yields drafts with subject and object exchanged, or with the inverse relation."""
    for k, i, j in _related(parts):
        inverse = INVERSE[parts[k].name]
        inverted = parts[k]._replace(name=inverse, phrase=rng.choice(level.relations[inverse]))
        options = [_with(parts, {k: inverted})]
        if len(_nouns(parts)) == 2:
            options.append(_with(parts, {i: parts[j], j: parts[i]}))
        yield from rng.sample(options, len(options))


def _replace_relation(parts, level, rng):
    """Yields drafts with another relation that is not the inverse."""
    for k, _, _ in _related(parts):
        names = [n for n in level.relations if n not in (parts[k].name, INVERSE[parts[k].name])]
        names.sort(key=lambda name: rng.random() ** (1 / _USUAL[name]), reverse=True)
        for name in names:
            phrase = rng.choice(level.relations[name])
            yield _with(parts, {k: parts[k]._replace(name=name, phrase=phrase)})


EDITS: dict[str, Edit] = {
    "swap_attribute": _swap_attribute,
    "swap_relation": _swap_relation,
    "replace_attribute": _replace_word(ATTRIBUTES),
    "replace_object": _replace_word(("shape",)),
    "replace_relation": _replace_relation,
}
