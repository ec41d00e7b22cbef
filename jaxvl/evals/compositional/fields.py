"""Fields of a published row, and a word about what is wrong where one is not as published."""


class BadField(Exception):
    """What is wrong with a row, naming the field."""


def get(row, field, *, of=object, within=""):
    """Returns row[field]. Raises BadField where the row has none, or not a value of type `of`."""
    name = f"{within}.{field}" if within else field
    if not isinstance(row, dict):
        raise BadField(f"is {_shown(row)}, not an object with the field {name!r}")
    if field not in row:
        raise BadField(f"has no field {name!r}; it has {', '.join(map(repr, row)) or 'none'}")
    if not isinstance(row[field], of):
        raise BadField(f"has {_shown(row[field])} in the field {name!r}, not {of.__name__}")
    return row[field]


def text(row, field):
    """Returns the text in row[field]; an empty one is a BadField."""
    value = get(row, field, of=str)
    if not value.strip():
        raise BadField(f"has an empty text in the field {field!r}")
    return value


def picture_name(row, field, template):
    """Returns the file name of a picture: a text or a number, put into the template."""
    value = get(row, field)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise BadField(f"has {_shown(value)} in the field {field!r}, not the name of a picture")
    return template.format(value)


def items(row, field, *, of):
    """Returns the list in row[field], not empty and of one type."""
    values = get(row, field, of=list)
    if not values or not all(isinstance(value, of) for value in values):
        raise BadField(f"has {_shown(values)} in the field {field!r}, not a list of {of.__name__}")
    return values


def box(row):
    """Returns (left, top, right, bottom) in pixels of bbox_x, bbox_y, bbox_w, bbox_h."""
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
