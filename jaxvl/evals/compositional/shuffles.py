"""ARO's order task: four shuffles of a caption, the same ones in every evaluation.

The four kinds are those of Yuksekgonul et al. (ICLR 2023): nouns change places with nouns and
adjectives with adjectives; all other words change places; words change places within groups of
three; the groups of three change places.
"""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvl.data.text.clean import clean_caption
from jaxvl.errors import UserError
from jaxvl.files import write_text

if TYPE_CHECKING:
    from jaxvl.evals.compositional.annotations import Case

KINDS = ("nouns_and_adjectives", "all_but_these", "within_trigrams", "trigrams")
SEED = 0
TRIES = 10  # until a shuffle reads differently


def with_shuffles(cases: Sequence["Case"], path: Path) -> list["Case"]:
    """Returns the cases with four false captions each; a caption of one word is left out.

    The shuffles are kept in PATH.shuffles.json, beside the annotation file, where its folder can be
    written. Where a kind of shuffle cannot change a caption, another kind takes its place.
    """
    captions = [case.true[0] for case in cases]
    done = []
    for case, shuffles in zip(cases, _cached(captions, Path(f"{path}.shuffles.json"))):
        changed = [(kind, text) for kind, text in zip(KINDS, shuffles) if text]
        if changed:
            kinds, texts = zip(*(changed * len(KINDS))[: len(KINDS)])
            done.append(case._replace(false=texts, kinds=kinds))
    return done


def _cached(captions: list[str], path: Path) -> list[list[str]]:
    described = json.dumps([SEED, KINDS, captions]).encode()
    digest = hashlib.sha256(described).hexdigest()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["digest"] == digest:
            return stored["shuffles"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or of other captions
    made = [shuffle(words, tags) for words, tags in _tagged(captions)]
    try:
        write_text(path, json.dumps({"digest": digest, "shuffles": made}))
    except UserError:
        pass  # a folder that cannot be written: they are made again next time, the same ones
    return made


def _tagged(captions: list[str]) -> list[tuple[list[str], list[str]]]:
    """Returns (words, Penn tags) of each caption. Needs the extra [negatives]."""
    from jaxvl.data.negatives.english.analysis import analyse

    return [
        ([text[token.start : token.end] for token in tokens], [token.tag for token in tokens])
        for text, tokens in zip(captions, analyse(captions))
    ]


def shuffle(words: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Returns the four shuffles of KINDS, "" where none reads differently.

    words, tags: of a caption, with their Penn tags. The same words give the same shuffles.
    """
    draw = random.Random(f"{SEED} {' '.join(words)}")
    nouns = [i for i, tag in enumerate(tags) if tag.startswith("NN")]
    adjectives = [i for i, tag in enumerate(tags) if tag.startswith("JJ")]
    others = [i for i in range(len(words)) if i not in {*nouns, *adjectives}]
    triples = [words[i : i + 3] for i in range(0, len(words), 3)]
    ways = (
        lambda: _permuted(_permuted(words, nouns, draw), adjectives, draw),
        lambda: _permuted(words, others, draw),
        lambda: [word for triple in triples for word in draw.sample(triple, len(triple))],
        lambda: [word for triple in draw.sample(triples, len(triples)) for word in triple],
    )
    return [_different(words, way) for way in ways]


def _permuted(words: Sequence[str], places: list[int], draw: random.Random) -> list[str]:
    permuted = list(words)
    for place, source in zip(places, draw.sample(places, len(places))):
        permuted[place] = words[source]
    return permuted


def _different(words: Sequence[str], way: Callable[[], list[str]]) -> str:
    read = clean_caption(" ".join(words), max_words=None)
    for _ in range(TRIES):
        text = " ".join(way())
        if clean_caption(text, max_words=None) != read:
            return text
    return ""
