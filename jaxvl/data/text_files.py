"""Text files of a user: their encoding is found, so that the same file is read alike everywhere."""

import codecs
from pathlib import Path
from typing import TextIO

_MARKS = (  # of the byte order, the longer one first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 2**16
_JAPANESE = "cp932"  # Shift_JIS, as Excel saves CSV on a Japanese machine


def open_text(path: Path | str) -> TextIO:
    """Returns a text file opened for reading, with line ends as they are.

    Bytes that are no text become halves of pairs, which no valid text has. Raises OSError.
    """
    with open(path, "rb") as file:
        name = encoding(file.read(_HEAD))
    return open(path, encoding=name, errors="surrogateescape", newline="")


def read_text(path: Path | str) -> str:
    """Returns the whole of a text file. Raises OSError, and ValueError where it is no text."""
    with open_text(path) as file:
        text = file.read()
    text.encode("utf-8")
    return text


def encoding(head: bytes) -> str:
    """Returns the encoding of a text by its first bytes: as marked, UTF-8, UTF-16 or Shift_JIS."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head[1:2] == b"\0" and head[:1] != b"\0":
        return "utf-16-le"
    if head[:1] == b"\0" and head[1:2] != b"\0":
        return "utf-16-be"
    if _decodes(head, "utf-8") is not None:
        return "utf-8"
    japanese = _decodes(head, _JAPANESE)
    is_kana = japanese is not None and any("\u3041" <= letter <= "\u30fa" for letter in japanese)
    return _JAPANESE if is_kana else "utf-8"


def _decodes(head: bytes, name: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(name)().decode(head)  # a letter may be cut at the end
    except UnicodeDecodeError:
        return None
