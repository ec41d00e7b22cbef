"""Configuration keys: each is defined once, with its default, its meaning and its allowed values.

A component (a method, a loss, an evaluator, ...) defines its own keys as a nested dict of `Key`.
`jaxvl.config.base` collects them, `jaxvl.validate` checks values against them, and
docs/configuration.md is generated from them.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxvl.errors import UserError

KeyTree = Mapping[str, Any]  # nested: {name: Key or KeyTree}

# No number of the configuration means anything beyond these, whatever bounds its key has.
LARGEST = {int: 2**31 - 1, float: 1e4}


class Key(NamedTuple):
    """One key of the configuration.

    The bounds hold for a number, and for each number of a tuple. A tuple of numbers has as many as
    the default; two are a range, lowest first.
    """

    default: Any  # its type is that of the key; a float key also takes an int, None takes any value
    meaning: str  # one line, with the unit if there is one
    low: float | None = None  # lowest allowed value
    high: float | None = None  # highest allowed value
    above: float | None = None  # values must be larger than this
    below: float | None = None  # values must be smaller than this
    choices: tuple = ()  # the only allowed values, if there are any
    items: type | None = None  # of a tuple whose default is empty: the type of its items


def merged(trees: Iterable[KeyTree]) -> dict[str, Any]:
    """Returns one tree of all keys; a key may come twice if both definitions are equal.

    Raises ValueError naming a key that two components define differently.
    """
    result: dict[str, Any] = {}
    for tree in trees:
        _merge(result, tree, "")
    return result


def _merge(into: dict[str, Any], tree: KeyTree, prefix: str) -> None:
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Key):
            if into.setdefault(name, value) != value:
                raise ValueError(f"key {path} is defined twice, differently")
        else:
            branch = into.setdefault(name, {})
            if isinstance(branch, Key):
                raise ValueError(f"{path} is both a key and a group of keys")
            _merge(branch, value, f"{path}.")


def defaults(tree: KeyTree) -> dict[str, Any]:
    """Returns the nested dict of default values."""
    return {
        name: value.default if isinstance(value, Key) else defaults(value)
        for name, value in tree.items()
    }


def flat(tree: KeyTree, prefix: str = "") -> dict[str, Key]:
    """Returns {dotted name: Key}."""
    found: dict[str, Key] = {}
    for name, value in tree.items():
        if isinstance(value, Key):
            found[f"{prefix}{name}"] = value
        else:
            found |= flat(value, f"{prefix}{name}.")
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean X?" for the known name that is most similar to `name`, or ""."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def check_value(name: str, value: Any, key: Key) -> None:
    """Raises UserError naming the key if the value has the wrong type or is out of range.

    A list counts as a tuple, since JSON has no tuples. A key whose default is None takes any value.
    """
    default = key.default
    if default is None:
        return
    wanted = type(default)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise UserError(f"config: {name}={value!r} is not of type {wanted.__name__}")
    if key.choices and value not in key.choices:
        allowed = ", ".join(map(str, key.choices))
        raise UserError(f"config: {name}={value!r} is not one of {allowed}")
    if isinstance(value, tuple):
        _check_items(name, value, key)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            _check_range(name, value, number, key)


def _check_items(name: str, value: tuple, key: Key) -> None:
    wanted = type(key.default[0]) if key.default else key.items
    for item in value:
        fits = wanted is None or type(item) is wanted or (wanted is float and type(item) is int)
        if not fits or item == "":
            kind = wanted.__name__ if wanted else ""
            raise UserError(f"config: {name}={value!r}: {item!r} is not of type {kind}")
    if not key.default or wanted is str:
        return
    if len(value) != len(key.default):
        raise UserError(f"config: {name}={value!r} has not {len(key.default)} numbers")
    if len(value) == 2 and value[0] > value[1]:
        raise UserError(f"config: {name}={value!r} is not a pair (lowest, highest)")


def _check_range(name: str, value: Any, number: int | float, key: Key) -> None:
    allowed = (
        math.isfinite(number)
        and abs(number) <= LARGEST[type(number)]
        and (key.low is None or number >= key.low)
        and (key.high is None or number <= key.high)
        and (key.above is None or number > key.above)
        and (key.below is None or number < key.below)
    )
    if not allowed:
        raise UserError(f"config: {name}={value!r} is not {_told_range(number, key)}")


def _told_range(number: int | float, key: Key) -> str:
    most = LARGEST[type(number)]
    if math.isfinite(number) and number > most and key.high is None and key.below is None:
        return f"at most {most:g}"
    return range_of(key)


def range_of(key: Key) -> str:
    """Returns the allowed range in words: "at least 0 and below 1".

    Of a number without bounds it is that of LARGEST; "" of what is no number.
    """
    bounds = (
        ("at least", key.low),
        ("above", key.above),
        ("at most", key.high),
        ("below", key.below),
    )
    words = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
    kind = type(key.default[0] if isinstance(key.default, tuple) and key.default else key.default)
    most = LARGEST.get(kind)
    return " and ".join(words) or (f"from {-most:g} to {most:g}" if most else "")
