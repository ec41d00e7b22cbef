"""The font that has the letters of a text."""

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont


def font_of(text: str, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Returns a font for a text: matplotlib's, or where that lacks letters another one here.

    Where no font has all of them, a line on stderr says so once, and the best is taken.
    """
    letters = frozenset(letter for letter in text if not (letter.isascii() or letter.isspace()))
    return _open(_path_of(letters, bold), size)


@functools.lru_cache
def _open(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.lru_cache(maxsize=1024)
def _path_of(letters: frozenset[str], bold: bool) -> str:
    best, most = "", -1
    for path in _paths(bold):
        found = len(letters & _letters_in(path))
        if found == len(letters):
            return path
        if found > most:
            best, most = path, found
    _say_missing()
    return best


@functools.cache
def _say_missing() -> None:
    print(
        "jaxvl: no font on this machine has all letters of the text, so the picture shows boxes; "
        "install one, such as the system package fonts-noto-cjk, or for Japanese: "
        "pip install 'jaxvl[japanese]'",
        file=sys.stderr,
    )


def _paths(bold: bool) -> Iterator[str]:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    yield str(Path(matplotlib.get_data_path(), "fonts", "ttf", name))
    if importlib.util.find_spec("matplotlib_fontja"):
        from matplotlib_fontja import get_font_ttf_path

        yield get_font_ttf_path()
    from matplotlib import font_manager

    for path in sorted(entry.fname for entry in font_manager.fontManager.ttflist):
        if "LastResort" not in path:  # it has a box for every letter
            yield path


@functools.lru_cache(maxsize=1024)
def _letters_in(path: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that was removed, or is damaged
        return frozenset()
