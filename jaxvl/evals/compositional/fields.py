"""Reads fields of a published row, and names the field that is not as published."""

from typing import Any


class BadField(Exception):
    """What is wrong with a row, naming the field."""


def get(row: Any, field: str, *, of: type = object, within: str = "") -> Any:
    """Returns row[field]. Raises BadField where the row has none, or not a value of type `of`."""
    name = f"{within}.{field}" if within else field
    if not isinstance(row, dict):
        raise BadField(f"is {_shown(row)}, not an object with the field {name!r}")
    if field not in row:
        raise BadField(f"has no field {name!r}; it has {', '.join(map(repr, row)) or 'none'}")
    if not isinstance(row[field], of):
        raise BadField(f"has {_shown(row[field])} in the field {name!r}, not {of.__name__}")
    return row[field]


def text(row: Any, field: str) -> str:
    """Returns the text in row[field]. Raises BadField for an empty one too."""
    value = get(row, field, of=str)
    if not value.strip():
        raise BadField(f"has an empty text in the field {field!r}")
    return value


def image_name(row: Any, field: str, template: str) -> str:
    """Returns the file name of an image: the text or number in row[field], put into the template.

    Raises BadField for anything else.
    """
    value = get(row, field)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise BadField(f"has {_shown(value)} in the field {field!r}, not the name of an image")
    return template.format(value)


def items(row: Any, field: str, *, of: type) -> list[Any]:
    """Returns the list in row[field]. Raises BadField for an empty one or one of other types."""
    values = get(row, field, of=list)
    if not values or not all(isinstance(value, of) for value in values):
        raise BadField(f"has {_shown(values)} in the field {field!r}, not a list of {of.__name__}")
    return values


def box(row: Any) -> tuple[float, float, float, float]:
    """Returns (left, top, right, bottom) in pixels, of bbox_x, bbox_y, bbox_w and bbox_h.

    Raises BadField for values that make no box.
    """
    values = [get(row, f"bbox_{side}") for side in "xywh"]
    for side, value in zip("xywh", values):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (side in "wh" and not value > 0):
            raise BadField(f"has {_shown(value)} in the field 'bbox_{side}'")
    x, y, width, height = values
    return x, y, x + width, y + height


def _shown(value):
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
