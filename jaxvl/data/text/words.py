"""The words of a text: what stands between blanks, or what a segmenter finds where none do.

WORDS names the ways. Tokens do not depend on them: a segmenter, or another edition of its
dictionary, changes which tokens are one word and never their ids. This file is copied into exported
folders, so it imports nothing of jaxvl.
"""

import functools
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Span = tuple[int, int]  # first character of a word, and the one behind its last
Pieces = Callable[[str], Iterable[str]]  # text without blanks -> its pieces, which join to it

_LETTERS_AT_ONCE = 2_000  # SudachiPy refuses more than 49 kB
_PIECE = re.compile(r"\S+")


class Segmenter(NamedTuple):
    """A way to find words.

    pieces: (text without blanks) -> its words; joined they are the text. module: what it imports,
    "" for nothing. extra: the extra of jaxvl that installs it.
    """

    pieces: Pieces
    module: str = ""
    extra: str = ""


def spans_of(text: str, words: str) -> list[Span]:
    """Returns the place of each word of a text, in order. words: a name in WORDS, "" for blanks.

    Punctuation is no word, except in a text that has nothing else.
    """
    if words in ("", "blanks"):
        return [match.span() for match in _PIECE.finditer(text)]
    return list(_segmented(text, words))


def words_of(text: str, words: str) -> list[str]:
    """Returns the words of a text. words: as in `spans_of`."""
    return [text[start:end] for start, end in spans_of(text, words)]


@functools.lru_cache(maxsize=1 << 14)
def _segmented(text: str, words: str) -> tuple[Span, ...]:
    pieces = WORDS[words].pieces
    spans: list[Span] = []
    for match in _PIECE.finditer(text):
        start = match.start()
        for piece in [match[0]] if match[0].isascii() else _in_parts(pieces, match[0]):
            if not all(unicodedata.category(letter)[0] in "PZC" for letter in piece):
                spans.append((start, start + len(piece)))
            start += len(piece)
    return tuple(spans) or tuple(match.span() for match in _PIECE.finditer(text))


def _in_parts(pieces: Pieces, text: str) -> Iterator[str]:
    for start in range(0, len(text), _LETTERS_AT_ONCE):
        yield from pieces(text[start : start + _LETTERS_AT_ONCE])


_own = threading.local()  # a SudachiPy tokenizer serves one thread


def sudachi() -> Any:
    """Returns SudachiPy's tokenizer of this thread; it gives the longest words (mode C)."""
    if not hasattr(_own, "sudachi"):
        from sudachipy import Dictionary, SplitMode

        _own.sudachi = Dictionary().create(mode=SplitMode.C)
    return _own.sudachi


def _japanese(text: str) -> list[str]:
    """Returns words with their endings: 立っている and 3枚 are words, and so are が and を."""
    found: list[str] = []
    before, opens = ("", "", ""), False  # `opens`: the next morpheme belongs to the last word
    for morpheme in sudachi().tokenize(text):
        part = tuple(morpheme.part_of_speech()[:3])
        if found and (opens or _continues(part, before)):
            found[-1] += morpheme.surface()
        else:
            found.append(morpheme.surface())
        before, opens = part, part[0] == "接頭辞"
    return found


def _continues(part: tuple[str, ...], before: tuple[str, ...]) -> bool:
    """Returns whether a morpheme is the ending of the word that the one before it belongs to."""
    inflected = before[0] in ("動詞", "形容詞", "助動詞", "形状詞")
    if part[0] == "助動詞":
        return before[0] not in ("助詞", "補助記号", "空白")
    if part[:2] == ("助詞", "接続助詞"):
        return inflected
    if part[0] in ("動詞", "形容詞") and part[1] == "非自立可能":
        return before[:2] == ("助詞", "接続助詞")
    if before[:2] == ("名詞", "数詞"):
        return part[:2] == ("名詞", "数詞") or "助数詞" in part[2]
    return part[0] == "接尾辞"


def _chinese(text: str) -> list[str]:
    import rjieba

    return rjieba.cut(text)


def _thai(text: str) -> list[str]:
    os.environ.setdefault("PYTHAINLP_READ_ONLY", "1")  # else it makes a folder in the home
    from pythainlp.tokenize import word_tokenize

    return word_tokenize(text, engine="newmm")


def _characters(text: str) -> list[str]:
    """Returns letters with the signs that stand on or below them."""
    found: list[str] = []
    for letter in text:
        if found and unicodedata.category(letter)[0] == "M":
            found[-1] += letter
        else:
            found.append(letter)
    return found


WORDS: dict[str, Segmenter] = {
    "blanks": Segmenter(str.split),
    "japanese": Segmenter(_japanese, module="sudachipy", extra="japanese"),
    "chinese": Segmenter(_chinese, module="rjieba", extra="chinese"),
    "thai": Segmenter(_thai, module="pythainlp", extra="thai"),
    "characters": Segmenter(_characters),
}
