"""What captions are written in, and how they are therefore read: the script decides."""

import collections
import functools
import importlib.util
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from jaxvl.data.text.words import WORDS
from jaxvl.errors import UserError

_SHARE = 0.02  # of the letters, from which a script without blanks decides
_KANA = 0.05  # of the Japanese or Chinese letters, from which a text is Japanese
_ACCENTED = 0.001  # of the letters; a few words such as "café" leave a text English

# Words of unicodedata's names -> how words are found in the script.
_UNSPACED = {
    "HIRAGANA": "japanese",
    "KATAKANA": "japanese",
    "HAN": "han",
    "THAI": "thai",
    "LAO": "characters",
    "KHMER": "characters",
    "MYANMAR": "characters",
    "TIBETAN": "characters",
}
_KNOWN_AS = {"CJK": "HAN", "IDEOGRAPHIC": "HAN", "KATAKANA-HIRAGANA": "KATAKANA"}  # ー
_SYLLABLES = "HANGUL"  # has blanks, and more letters than a vocabulary of whole letters can hold


class Reading(NamedTuple):
    """How captions are read.

    words: a name in jaxvl.data.text.words.WORDS. vocabulary: "wordpiece" or "bytes", see
    `tokenizer.train`. accents: whether they are kept; then "bán" and "bàn" are two words.
    """

    words: str = "blanks"
    vocabulary: str = "wordpiece"
    accents: bool = False


ENGLISH = Reading()


def reading_of(captions: Iterable[str], *, words: str = "", vocabulary: str = "") -> Reading:
    """Returns the Reading of captions by what they are written in. words, vocabulary: if not ""."""
    letters = _letters(captions)
    scripts: collections.Counter = collections.Counter()
    for letter, number in letters.items():
        scripts[script_of(letter)] += number
    total = max(1, scripts.total())
    found = _words_of(scripts, total)
    by_bytes = found != "blanks" or scripts[_SYLLABLES] >= _SHARE * total
    beyond = sum(number for letter, number in letters.items() if not letter.isascii())
    return Reading(
        words=words or found,
        vocabulary=vocabulary or ("bytes" if by_bytes else "wordpiece"),
        accents=beyond > _ACCENTED * total,
    )


def check_installed(words: str) -> None:
    """Raises UserError where the package that finds these words is not installed."""
    segmenter = WORDS[words or "blanks"]
    if segmenter.module and importlib.util.find_spec(segmenter.module) is None:
        raise UserError(
            f"words of {words.title()} text are found by {segmenter.module}, which is not "
            f"installed; run: pip install 'jaxvl[{segmenter.extra}]'"
        )


def scripts_in(captions: Iterable[str]) -> dict[str, float]:
    """Returns {script: its share of the letters}, the most frequent first, those of 1 % or more."""
    scripts: collections.Counter = collections.Counter()
    for letter, number in _letters(captions).items():
        scripts[script_of(letter).capitalize()] += number
    total = max(1, scripts.total())
    return {name: n / total for name, n in scripts.most_common() if n >= 0.01 * total}


@functools.lru_cache(maxsize=1 << 14)
def script_of(letter: str) -> str:
    """Returns the first word of the letter's name in Unicode: "LATIN", "HIRAGANA"; or "HAN"."""
    name = unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
    return _KNOWN_AS.get(name, name)


def compared(caption: str) -> str:
    """Returns what tells a caption from another: its letters, marks, digits and symbols."""
    text = unicodedata.normalize("NFKC", caption).casefold()
    kept = [sign if unicodedata.category(sign)[0] not in "PC" else " " for sign in text]
    return " ".join("".join(kept).split())


def _letters(captions: Iterable[str]) -> collections.Counter:
    counts: collections.Counter = collections.Counter()
    for caption in captions:
        counts.update(unicodedata.normalize("NFKC", caption))
    for letter in [letter for letter in counts if unicodedata.category(letter)[0] not in "LM"]:
        del counts[letter]
    return counts


def _words_of(scripts: collections.Counter, total: int) -> str:
    families: collections.Counter = collections.Counter()
    for script, family in _UNSPACED.items():
        families[family] += scripts[script]
    east_asian = families["japanese"] + families.pop("han")
    is_japanese = families.pop("japanese") >= _KANA * east_asian
    families["japanese" if is_japanese else "chinese"] = east_asian
    name, number = families.most_common(1)[0]
    return name if number >= _SHARE * total else "blanks"
