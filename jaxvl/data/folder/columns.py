"""Which columns of a table, or keys of an object, hold file name, captions and split."""

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

FILES = (
    *("file_name", "filename", "filepath", "file_path", "file", "path"),
    *("image_path", "image_file", "image_name", "image", "img"),
)
CAPTIONS = (
    *("captions", "text", "caption", "texts", "title", "titles"),
    *("sentence", "sentences", "description", "descriptions"),
)
WANTED = "file_name, one of captions, text, caption"


class Columns(NamedTuple):
    """The names of columns as the file has them.

    captions: one, or several that are numbered: caption_1, caption_2. split: "" for none. unused:
    the others.
    """

    file: str
    captions: tuple[str, ...]
    split: str
    unused: tuple[str, ...]


@functools.lru_cache(maxsize=1024)  # records of one table mostly have the same
def choose(names: tuple[str, ...]) -> Columns:
    """Returns the Columns among names, compared without case and outer blanks; "" for none."""
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(re.sub(r"[\s-]+", "_", name.strip().casefold()), name)
    file = next((plain[name] for name in FILES if name in plain), "")
    captions: tuple[str, ...] = ()
    for base in CAPTIONS:
        captions = tuple(plain[name] for name in plain if re.fullmatch(rf"{base}(_?\d+)?", name))
        if captions:
            break
    split = plain.get("split", "")
    used = {file, *captions, split}
    return Columns(file, captions, split, tuple(n for n in plain.values() if n and n not in used))


def quoted(names: Iterable[str]) -> str:
    """Returns names for a message, each in quotes, so that blanks in them can be seen."""
    return ", ".join(map(repr, names)) or "missing"
