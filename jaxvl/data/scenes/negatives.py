"""Hard negatives: a caption with one thing changed, and certain to be false of the scene."""

from jaxvl.data.scenes.captions import Noun, Relation, write
from jaxvl.data.scenes.truth import judge, parse
from jaxvl.data.scenes.vocabulary import ATTRIBUTES, HELD_OUT, INVERSE, LEXICON, RELATIONS, WORDS

# How often a replaced relation becomes this one, after how often captions use it, so that the
# relation alone does not give a negative away.
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


def contradict(captions, drafts, world, rng, *, unseen):
    """One negative of each kind that the captions allow.

    drafts: the captions as lists of parts. unseen: whether held-out pairs may be spoken of.
    Returns a list of (text, kind, index of the caption it contradicts).
    """
    found, taken = [], set(captions)
    for kind, edits in EDITS.items():
        for index in rng.sample(range(len(drafts)), len(drafts)):
            text = _first_false(edits(drafts[index], rng), world, taken, unseen)
            if text:
                taken.add(text)
                found.append((text, kind, index))
                break
    return found


def contradict_others(found, captions, drafts, world, rng, *, unseen):
    """The negatives, in the form of `contradict`, of each kind and caption that `found` lacks."""
    others, taken = [], set(captions) | {text for text, _, _ in found}
    missing = {(kind, index) for kind in EDITS for index in range(len(drafts))}
    for kind, index in sorted(missing - {(kind, index) for _, kind, index in found}):
        text = _first_false(EDITS[kind](drafts[index], rng), world, taken, unseen)
        if text:
            taken.add(text)
            others.append((text, kind, index))
    return others


def _first_false(candidates, world, taken, unseen):
    for parts in candidates:
        text, _ = write(parts)
        statement = parse(text)
        allowed = text not in taken and (unseen or not _names_held_out(statement))
        if allowed and judge(statement, world) is False:
            return text
    return None


def _names_held_out(statement):
    return any((d.get("colour"), d["shape"]) in HELD_OUT for d in statement.descriptions)


def _nouns(parts):
    return [k for k, part in enumerate(parts) if isinstance(part, Noun)]


def _with(parts, changes):
    return [changes.get(k, part) for k, part in enumerate(parts)]


def _reworded(noun, kind, word):
    return noun._replace(words={**noun.words, kind: word})


def _swap_attribute(parts, rng):
    """Two nouns exchange their words of one kind."""
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


def _replace(kinds):
    def edits(parts, rng):
        """A noun's word of one of these kinds becomes a word of another meaning."""
        options = [(i, kind) for i in _nouns(parts) for kind in kinds if kind in parts[i].words]
        for i, kind in rng.sample(options, len(options)):
            meant = LEXICON[parts[i].words[kind]][1]
            others = [value for value in WORDS[kind] if value != meant]
            for value in rng.sample(others, len(others)):
                yield _with(parts, {i: _reworded(parts[i], kind, rng.choice(WORDS[kind][value]))})

    return edits


def _related(parts):
    """Positions of (relation, noun, noun) for each relation."""
    nouns = _nouns(parts)
    for k, part in enumerate(parts):
        if isinstance(part, Relation):
            after = [n for n in nouns if n > k]
            yield (k, *after[:2]) if part.fronted else (k, max(n for n in nouns if n < k), after[0])


def _swap_relation(parts, rng):
    """Subject and object change places, or the relation turns into its inverse."""
    for k, i, j in _related(parts):
        inverse = INVERSE[parts[k].name]
        inverted = parts[k]._replace(name=inverse, phrase=rng.choice(RELATIONS[inverse]))
        options = [_with(parts, {k: inverted})]
        if len(_nouns(parts)) == 2:
            options.append(_with(parts, {i: parts[j], j: parts[i]}))
        yield from rng.sample(options, len(options))


def _replace_relation(parts, rng):
    """A relation becomes another one, not its inverse."""
    for k, _, _ in _related(parts):
        names = [n for n in RELATIONS if n not in (parts[k].name, INVERSE[parts[k].name])]
        names.sort(key=lambda name: rng.random() ** (1 / _USUAL[name]), reverse=True)
        for name in names:
            phrase = rng.choice(RELATIONS[name])
            yield _with(parts, {k: parts[k]._replace(name=name, phrase=phrase)})


EDITS = {
    "swap_attribute": _swap_attribute,
    "swap_relation": _swap_relation,
    "replace_attribute": _replace(ATTRIBUTES),
    "replace_object": _replace(("shape",)),
    "replace_relation": _replace_relation,
}
