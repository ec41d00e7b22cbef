"""The languages that have rules for hard negatives, and which one captions are in."""

import functools
import importlib
import re
from collections.abc import Iterable, Iterator

from jaxvl.data.negatives.captions import CaptionSet
from jaxvl.data.negatives.english import ENGLISH
from jaxvl.data.negatives.japanese import JAPANESE
from jaxvl.data.negatives.language import Language
from jaxvl.data.text.scripts import scripts_in
from jaxvl.errors import UserError

LANGUAGES: dict[str, Language] = {"english": ENGLISH, "japanese": JAPANESE}

_LOOKED_AT = 1_000  # captions of a data set, about, that tell its language
_KANA = ("Hiragana", "Katakana")
_SHARE = 0.05  # of the letters, from which the script of a language decides
# Languages in Latin letters that spaCy knows the most frequent words of.
_LATIN = "en af ca cs da de es et fi fr hr hu id is it lt lv nb nl pl pt ro sk sl sq sv tl tr vi"
_WORD = re.compile(r"[^\W\d_]{2,}")  # single letters are sizes, and words of many languages
_MORE = 0.15  # of the words, by which another language's frequent ones must be more


def language_of(data: CaptionSet, filler: str) -> str:
    """Returns the name in LANGUAGES of a data set's captions.

    Raises UserError where that language has no rules, or the filler does not know it.
    """
    name = named_language(_some(data), of=f"--data {data.directory}")
    if filler in LANGUAGES[name].no_fillers:
        raise UserError(f"--filler {filler} does not know {name.title()}; leave --filler out")
    return name


def named_language(captions: Iterable[str], *, of: str = "the captions") -> str:
    """Returns the name in LANGUAGES of captions. of: where they are from, for the error.

    Raises UserError where their language has no rules.
    """
    captions = list(captions)
    scripts = scripts_in(captions)
    kana = sum(scripts.get(name, 0) for name in _KANA)
    others = {name: share for name, share in scripts.items() if name not in ("Latin", *_KANA)}
    if kana >= _SHARE:
        found = "japanese"
    elif others and (largest := max(others, key=others.__getitem__)) and others[largest] >= _SHARE:
        found = f"{largest} script"
    else:
        found = "english" if _is_english(captions) else "a language other than English"
    if found not in LANGUAGES:
        raise UserError(
            f"{of}: its captions are in {found}; hard negatives are made of "
            f"{' and '.join(name.title() for name in LANGUAGES)} only"
        )
    return found


def _some(data: CaptionSet) -> Iterator[str]:
    """Yields captions from all over a data set."""
    total = sum(data.splits.values())
    for split, count in data.splits.items():
        step = max(1, -(-total // _LOOKED_AT))
        for first in range(0, count, step * 64):
            for texts in data.captions(split, first, min(count, first + 64)):
                yield from texts


def _is_english(captions: list[str]) -> bool:
    """Returns whether no other language knows clearly more words of the captions as frequent."""
    words = [word for text in captions for word in _WORD.findall(text.lower())]
    shares = {
        code: sum(word in frequent for word in words) / max(1, len(words))
        for code, frequent in _frequent_words().items()
    }
    return shares["en"] + _MORE > max(shares.values())


@functools.cache
def _frequent_words() -> dict[str, frozenset[str]]:
    ENGLISH.check_installed()
    return {
        code: frozenset(importlib.import_module(f"spacy.lang.{code}.stop_words").STOP_WORDS)
        for code in _LATIN.split()
    }
