"""What can be said of captions alone: shared ones, lengths, scripts, people, and unknown tokens."""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxvl.data.folder.cells import looks_personal
from jaxvl.data.text.scripts import compared, scripts_in
from jaxvl.data.text.words import words_of

LENGTHS = ((1, 3), (4, 7), (8, 15), (16, 30), (31, None))  # words, first and last
_SCRIPT_OF = {"Hiragana": "Japanese", "Katakana": "Japanese"}


class Shared(NamedTuple):
    """Captions that several images share.

    distinct: number of captions that differ by more than signs and capitals. images: number with a
    caption that another image has, too. pairs: expected number of pairs with a common caption in a
    batch, see `shared`. most: [(caption, number of images)], the most frequent ones.
    """

    distinct: int
    images: int
    pairs: float
    most: list[tuple[str, int]]


def shared(captions_I: Sequence[Sequence[str]], *, batch: int, most: int) -> Shared:
    """Returns the Shared of the captions of each image.

    In training each image of a batch brings one of its captions, drawn at random; two images with
    the same caption would be false negatives of each other.
    """
    owners: dict[str, dict[int, int]] = collections.defaultdict(dict)
    written: dict[str, str] = {}
    for i, captions in enumerate(captions_I):
        for caption in captions:
            words = compared(caption) or caption
            written.setdefault(words, caption)
            owners[words][i] = owners[words].get(i, 0) + 1
    common = {words: images for words, images in owners.items() if len(images) > 1}
    chance = 0.0  # of two random images to bring the same caption
    for images in common.values():
        drawn = [number / len(captions_I[i]) for i, number in images.items()]
        chance += sum(drawn) ** 2 - sum(each**2 for each in drawn)
    total = len(captions_I)
    chance /= max(1, total * (total - 1))
    ranked = sorted((-len(images), written[words]) for words, images in common.items())
    return Shared(
        distinct=len(owners),
        images=len({i for images in common.values() for i in images}),
        pairs=chance * batch * (batch - 1) / 2,
        most=[(caption, -number) for number, caption in ranked[:most]],
    )


def lengths(captions: Iterable[str], *, words: str) -> list[int]:
    """Returns the number of words of each caption. words: a name in `jaxvl.data.text.words`."""
    return [len(words_of(caption, words)) for caption in captions]


def by_length(lengths: Iterable[int]) -> list[dict]:
    """Returns [{first, last, captions}]: how many captions have so many words, by LENGTHS."""
    counts = collections.Counter(lengths)
    return [
        {
            "first": first,
            "last": last,
            "captions": sum(
                number
                for length, number in counts.items()
                if length >= first and (last is None or length <= last)
            ),
        }
        for first, last in LENGTHS
    ]


def script_of(caption: str) -> str:
    """Returns the script that most letters of a caption are of; Japanese for one with kana."""
    found = scripts_in([caption])
    japanese = next((_SCRIPT_OF[name] for name in found if name in _SCRIPT_OF), None)
    return japanese or next(iter(found), "no letters")


def by_script(captions: Iterable[str]) -> dict[str, int]:
    """Returns {script: captions that are mostly written in it}, the most frequent first."""
    counts = collections.Counter(map(script_of, captions))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def personal(captions: Iterable[str]) -> list[int]:
    """Returns the numbers of captions that seem to hold an e-mail address or telephone number."""
    return [number for number, caption in enumerate(captions) if looks_personal(caption)]
