"""Captions as a cell of a table holds them: one, or a list as JSON or as Python prints it."""

import ast
import json
import re
import unicodedata
from typing import Any

_LIST = re.compile(r"\s*[\[(]\s*(['\"]|[\])]\s*$)")  # begins like a list of texts
_TEXT = r"(?:'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\")"
# As Python and NumPy print it: with commas, blanks or line ends between.
_PYTHON = re.compile(rf"\s*[\[(]\s*(?:{_TEXT}\s*+,?\s*+)*+[\])]\s*", re.DOTALL)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)*\.[a-z]{2,}", re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w.])[+(]?\d[\d ().ー‐-―-]{7,18}\d(?!\w)")


def captions_of(cell: str) -> list[Any] | None:
    """Returns the captions in a cell; None where it begins like a list and cannot be read."""
    if not _LIST.match(cell):
        return [cell]
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list):
        return found
    if _PYTHON.fullmatch(cell):
        try:
            return [ast.literal_eval(text) for text in re.findall(_TEXT, cell, re.DOTALL)]
        except (ValueError, SyntaxError):
            pass
    return [cell] if cell.lstrip()[0] == "(" else None


def looks_personal(caption: str) -> bool:
    """Returns whether a caption seems to hold an e-mail address or a telephone number."""
    plain = unicodedata.normalize("NFKC", caption)
    return bool(_MAIL.search(plain)) or any(_is_phone(found[0]) for found in _PHONE.finditer(plain))


def masked(caption: str) -> str:
    """Returns a caption without the e-mail addresses and telephone numbers that it seems to hold.

    One that holds any is returned in the compatibility form of Unicode, in which they are found.
    """
    if not looks_personal(caption):
        return caption
    plain = _MAIL.sub("[e-mail]", unicodedata.normalize("NFKC", caption))
    return _PHONE.sub(lambda found: "[phone]" if _is_phone(found[0]) else found[0], plain)


def _is_phone(text: str) -> bool:
    digits = sum(letter.isdigit() for letter in text)
    groups = len(re.findall(r"\d+", text))
    return 9 <= digits <= 15 and (text[0] in "+(0" or 3 <= groups <= 5)
