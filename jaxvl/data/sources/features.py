"""What features.json of a TFDS directory says of the stored examples, read as plain JSON.

TFDS builds its features from the Python classes that the file names, and imports their modules.
Here nothing is imported, so a stranger's file runs no code.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxvl import paths
from jaxvl.errors import UserError

FILE = "features.json"


class Field(NamedTuple):
    """A feature of a stored example. dtype: "image", "string", "int64", ... rank: 0 for one value.

    A feature that is of no use here has the dtype "other".
    """

    dtype: str
    rank: int


Fields = dict[str, Field]  # name in the stored example, such as "captions/text" -> Field
IMAGE = Field("image", 0)


def stored_fields(directory: Path | str) -> Fields:
    """Returns the Fields of a TFDS directory. Raises UserError where they cannot be read."""
    path = paths.of(directory) / FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if "featuresDict" not in told:
            raise KeyError("featuresDict")
        return dict(_fields(told, "", 0))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: not as TFDS 4.5 and later write it ({reason}); prepare the data set again"
        ) from None


def _fields(node: dict[str, Any], name: str, rank: int) -> Iterator[tuple[str, Field]]:
    if "featuresDict" in node:
        for inner, feature in node["featuresDict"]["features"].items():
            yield from _fields(feature, f"{name}/{inner}".lstrip("/"), rank)
    elif "sequence" in node:
        yield from _fields(node["sequence"]["feature"], name, rank + 1)
    elif "image" in node:
        yield name, Field("image", rank)
    elif "text" in node:
        yield name, Field("string", rank)
    elif "tensor" in node:
        tensor = node["tensor"]
        yield name, Field(str(tensor["dtype"]), rank + len(tensor["shape"].get("dimensions", ())))
    else:
        yield name, Field("other", rank)
