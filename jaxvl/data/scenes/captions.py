"""Captions of a scene: five descriptions, from two words to a full account.

A caption is a list of parts (Noun, Relation, str) until it is written out. So a negative can change
one part, and the object that each word describes is known.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from jaxvl.data.scenes.levels import Level
from jaxvl.data.scenes.truth import parse, readings
from jaxvl.data.scenes.vocabulary import ATTRIBUTES
from jaxvl.data.scenes.world import World, relation_holds

_MAX_WORDS = 27  # models read 30 words, and the relation of a negative may be 3 words longer


class Noun(NamedTuple):
    """A noun phrase.

    thing: index of the object. words: attribute kind (and "shape") -> word. after: the attribute
    kinds that stand after the noun, "a star that is red".
    """

    thing: int
    article: str
    words: dict[str, str]
    after: tuple[str, ...] = ()


class Relation(NamedTuple):
    """A relation between the nouns around it.

    fronted: the relation stands before both nouns, "left of a ring is a star".
    """

    name: str
    phrase: str
    fronted: bool = False


Draft = Sequence[Noun | Relation | str]  # a caption in parts


def write(parts: Draft) -> tuple[str, list[tuple[int, int]]]:
    """Returns the caption as text, and its mentions as (position of the word, thing) pairs."""
    texts, mentions = [], []

    def name(thing, word):
        mentions.append((len(texts), thing))
        texts.append(word)

    for part in parts:
        if isinstance(part, Noun):
            if part.article:
                texts.append(part.article)
            for kind in ATTRIBUTES:
                if kind in part.words and kind not in part.after:
                    name(part.thing, part.words[kind])
            name(part.thing, part.words["shape"])
            for k, kind in enumerate(part.after):
                texts += ["and"] if k else ["that", "is"]
                name(part.thing, part.words[kind])
        elif isinstance(part, Relation):
            texts += part.phrase.split()
        elif part == ",":
            texts[-1] += ","
        else:
            texts += part.split()
    for k, following in enumerate(texts[1:]):
        if texts[k] == "a" and following[0] in "aeiou":
            texts[k] = "an"
    return " ".join(texts), mentions


def describe(world: World, level: Level, rng: random.Random) -> list[Draft]:
    """Returns five different captions of a scene, in random order.

    Each is true, and each noun fits only the object that it was written for.
    """
    kinds = level.captions if len(world.things) > 1 else ("terse", *("detailed",) * 4)
    drafts, texts = [], set()
    for kind in kinds:
        sure = level.sure
        while True:
            parts = _MAKERS[kind](world, level, rng, sure)
            text, _ = write(parts)
            fits = text not in texts and text.count(" ") < _MAX_WORDS
            if fits and _means_what_it_should(parts, text, world):
                break
            sure += 0.1  # name colours more often, until the words fit one reading only
        drafts.append(parts)
        texts.add(text)
    rng.shuffle(drafts)
    return drafts


def _means_what_it_should(parts, text, world):
    """Returns whether the text, parsed back, is true in the intended reading and in no other."""
    intended = [part.thing for part in parts if isinstance(part, Noun)]
    statement = parse(text)
    return statement is not None and readings(statement, world) == [(tuple(intended), True)]


def _noun(world, thing, level, rng, *, colour, extra, article=None, after=True):
    """Returns a Noun for a thing.

    colour: probability of naming its colour. extra: the same for its size and for its texture.
    """
    values = world.things[thing]
    chances = {"size": extra, "colour": colour}
    chances["texture"] = extra * (0.5 if values.texture == "plain" else 1.3)
    kinds = [kind for kind in level.attributes if rng.random() < chances[kind]]
    words = {k: _word(level.words[k][getattr(values, k)], rng) for k in (*kinds, "shape")}
    turned = after and rng.random() < level.after
    later = tuple(rng.sample(kinds, min(len(kinds), 2))) if turned else ()
    if article is None:
        article = rng.choices(tuple(level.articles), tuple(level.articles.values()))[0]
    return Noun(thing, article, words, later)


def _word(words, rng):
    return words[0] if rng.random() < 0.8 else rng.choice(words)


def _opening(level, rng, chance):
    return [rng.choice(level.openings)] if rng.random() < chance else []


def _terse(world, level, rng, sure):
    thing = rng.randrange(len(world.things))
    noun = _noun(
        world, thing, level, rng, colour=0.9 + sure, extra=sure / 2, article="", after=False
    )
    return [noun]


def _detailed(world, level, rng, sure):
    thing = rng.randrange(len(world.things))
    opening = _opening(level, rng, 0.3)
    return [*opening, _noun(world, thing, level, rng, colour=0.85 + sure, extra=0.65)]


def _relation_between(world, i, j, level, rng):
    """Returns a relation of thing i to thing j that clearly holds, or None.

    Contact (inside, in front) is preferred to direction (left, above).
    """
    true = [name for name in level.relations if relation_holds(world, i, name, j)]
    contact = [name for name in true if name in ("inside", "around", "front", "behind")]
    if not true:
        return None
    name = rng.choice(contact or true)
    return Relation(name, rng.choice(level.relations[name]))


def _in_contact(world):
    """Returns whether the second thing of the layout is inside or in front of the first."""
    return any(relation_holds(world, 1, name, 0) for name in ("inside", "front"))


def _related(world, level, rng, sure):
    """Returns a caption of two things and a relation between them."""
    relation = None
    while relation is None:
        i, j = rng.sample(range(len(world.things)), 2)
        if _in_contact(world) and rng.random() < 0.5:
            i, j = rng.sample((0, 1), 2)
        relation = _relation_between(world, i, j, level, rng)
    one, other = (_noun(world, k, level, rng, colour=0.85 + sure, extra=0.35) for k in (i, j))
    return _clause(one, relation, other, level, rng)


def _clause(one, relation, other, level, rng):
    form = rng.random()
    if form < 0.2:
        relation = relation._replace(fronted=True)
        return [relation, other, rng.choice(("is", "there is", "we see")), one]
    if form < 0.45:
        return [one, "is", relation, other]
    return [*_opening(level, rng, 0.3), one, relation, other]


def _listed(world, level, rng, sure):
    """Returns a caption that lists every thing, in any order."""
    order = rng.sample(range(len(world.things)), len(world.things))
    article = "" if rng.random() < 0.3 else None
    nouns = [
        _noun(world, k, level, rng, colour=0.95 + sure, extra=0.3, article=article, after=False)
        for k in order
    ]
    parts = _opening(level, rng, 0.4) if article is None else []
    for k, noun in enumerate(nouns):
        if k:
            parts += [rng.choice(("and", "with"))] if k == len(nouns) - 1 else [","]
        parts.append(noun)
    return parts


def _full(world, level, rng, sure):
    """Returns a caption of every thing, with relations between neighbours in the caption."""
    count = len(world.things)
    order = rng.sample(range(count), count)
    if _in_contact(world):
        order = rng.sample((0, 1), 2) + [k for k in order if k > 1]
    extra = {2: 0.5, 3: 0.3, 4: 0.12}[count]
    nouns = [
        _noun(world, k, level, rng, colour=0.95 + sure, extra=extra, after=count < 4) for k in order
    ]
    relations = [_relation_between(world, i, j, level, rng) for i, j in zip(order, order[1:])]
    if count == 2 and relations[0]:
        return _clause(nouns[0], relations[0], nouns[1], level, rng)
    parts = [*_opening(level, rng, 0.3), nouns[0]]
    for k, noun in enumerate(nouns[1:]):
        chained = k == 0 or k == 2 or (count == 3 and rng.random() < 0.5)
        if chained and relations[k]:
            parts += ["which is"] * (k == 1) + [relations[k]]
        else:
            parts.append("and" if k == count - 2 or count == 4 else ",")
        parts.append(noun)
    return parts


_MAKERS = {
    "terse": _terse,
    "detailed": _detailed,
    "related": _related,
    "listed": _listed,
    "full": _full,
}
