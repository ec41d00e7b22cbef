"""The levels of Scenes: what a level shows, how calmly, and with how many words.

Layout, captions, negatives and rendering read a Level; none of them knows its number.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jaxvl.data.scenes.vocabulary import ATTRIBUTES, HELD_OUT, OPENINGS, RELATIONS, WORDS

Values = Mapping[str, tuple[str, ...]]  # value -> its words or phrases, the plainest first


class Level(NamedTuple):
    """What the records of a level may contain. Numbers in mappings are weights of a draw.

    counts: how many things. groups: how the first two lie: "apart", "inside" or "front".
    radii: size -> least and greatest radius in sides of the image. textures: of the things.
    words: attribute kind (and "shape") -> value -> its words; a kind that is missing is not named.
    relations: name -> its phrases. articles, openings: of the captions.
    captions: kinds of the five captions of several things, as named in `captions.py`.
    sure: added to the chance that a noun names its colour.
    after: share of nouns with attributes behind them, "a star that is red".
    clutter: strength of background, grain and lighting; 1 is full, 0 an even grey.
    """

    counts: Mapping[int, float]
    groups: Mapping[str, float]
    radii: Mapping[str, tuple[float, float]]
    textures: Mapping[str, float]
    words: Mapping[str, Values]
    relations: Values
    articles: Mapping[str, float]
    openings: tuple[str, ...]
    captions: tuple[str, ...]
    sure: float
    after: float
    clutter: float

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attribute kinds that captions name, in their order before a noun."""
        return tuple(kind for kind in ATTRIBUTES if kind in self.words)

    @property
    def held_out(self) -> tuple[tuple[str, str], ...]:
        """The pairs of colour and shape of this level that appear in the split `unseen` only."""
        colours, shapes = self.words["colour"], self.words["shape"]
        return tuple(p for p in sorted(HELD_OUT) if p[0] in colours and p[1] in shapes)


def _plainest(values: Values, names: str = "") -> Values:
    """Returns these values, or all, with the plainest word of each."""
    return {name: values[name][:1] for name in names.split() or values}


_HARD = Level(
    counts={1: 0.08, 2: 0.34, 3: 0.36, 4: 0.22},
    groups={"apart": 0.36, "inside": 0.34, "front": 0.3},
    radii={"small": (0.125, 0.145), "big": (0.19, 0.225)},
    textures={"plain": 4, "striped": 2, "dotted": 2, "checked": 2},
    words=WORDS,
    relations=RELATIONS,
    articles={"a": 6, "the": 3, "one": 1},
    openings=OPENINGS,
    captions=("terse", "detailed", "related", "listed", "full"),
    sure=0.0,
    after=0.15,
    clutter=1.0,
)
_MIDDLE = _HARD._replace(
    counts={1: 0.1, 2: 0.5, 3: 0.4},
    textures={"plain": 1},
    words={kind: _plainest(WORDS[kind]) for kind in ("size", "colour", "shape")},
    relations=_plainest(RELATIONS),
    clutter=0.5,
)
_EASY = _MIDDLE._replace(
    counts={1: 0.1, 2: 0.9},
    groups={"apart": 1},
    radii={"big": (0.17, 0.24)},
    words={
        "colour": _plainest(WORDS["colour"], "red yellow green blue white black"),
        "shape": _plainest(WORDS["shape"], "circle square triangle cross ring"),
    },
    relations=_plainest(RELATIONS, "left right above below"),
    articles={"a": 2, "the": 1},
    openings=("there is", "we see"),
    captions=("terse", "related", "related", "related", "listed"),
    sure=0.15,
    after=0.0,
    clutter=0.2,
)
LEVELS = {1: _EASY, 2: _MIDDLE, 3: _HARD}
DEFAULT_LEVEL = 3
