"""Configuration keys: all have a meaning; a wrong type or a value out of range is an error."""

import math

import pytest
from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import keys as keys_lib
from jaxvl.errors import UserError
from jaxvl.keys import Key
from jaxvl.validate import check_values

ALL = keys_lib.flat(config_lib.keys())
NUMBERS = [name for name, key in ALL.items() if type(key.default) in (int, float)]


def with_value(name, value):
    """Returns the default configuration with another value, whatever its type."""
    nested = config_lib.base().to_dict()
    *groups, last = name.split(".")
    group = nested
    for part in groups:
        group = group[part]
    group[last] = value
    return ConfigDict(nested)


def test_every_key_says_what_it_means_and_its_default_is_in_range():
    for name, key in ALL.items():
        assert key.meaning and "\n" not in key.meaning, name
        keys_lib.check_value(name, key.default, key)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "3", None, [1, 2], True])
def test_every_number_refuses_a_value_that_is_no_finite_number(value):
    for name in NUMBERS:
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            check_values(with_value(name, value))


def test_every_number_refuses_a_value_below_its_lowest():
    for name in NUMBERS:
        if ALL[name].low is not None:
            low = type(ALL[name].default)(ALL[name].low)
            check_values(with_value(name, low))
            with pytest.raises(UserError, match=f"{name}=.* is not at least {low:g}"):
                check_values(with_value(name, low - 1))


@pytest.mark.parametrize(
    "key, good, bad, message",
    [
        (Key(0.5, "", low=0, below=1), (0.0, 0.99, 0), (1.0, -0.1), "at least 0 and below 1"),
        (Key(0.5, "", above=0, high=1), (1.0, 0.01), (0.0, 1.1), "above 0 and at most 1"),
        (Key((0.2, 1.0), "", low=0), ((0.0, 3.0), [1.0, 2.0]), ((-1.0, 1.0),), "at least 0"),
        (Key("a", "", choices=("a", "b")), ("b",), ("c",), "not one of a, b"),
        (Key(3, ""), (4,), (4.5,), "not of type int"),
        (Key("", ""), ("x",), (1,), "not of type str"),
    ],
)
def test_a_value_is_held_to_its_type_and_its_range(key, good, bad, message):
    for value in good:
        keys_lib.check_value("key", value, key)
    for value in bad:
        with pytest.raises(UserError, match=f"config: key=.*{message}"):
            keys_lib.check_value("key", value, key)


def test_two_components_may_share_a_key_if_they_define_it_equally():
    one = {"group": {"key": Key(1, "one")}}
    assert keys_lib.defaults(keys_lib.merged([one, one])) == {"group": {"key": 1}}
    with pytest.raises(ValueError, match="group.key is defined twice"):
        keys_lib.merged([one, {"group": {"key": Key(2, "one")}}])
    with pytest.raises(ValueError, match="group is both a key and a group"):
        keys_lib.merged([{"group": Key(1, "one")}, one])


def test_the_nearest_known_name_is_suggested():
    assert keys_lib.nearest("softmask.wieght", ALL) == "; did you mean softmask.weight?"
    assert keys_lib.nearest("something else", ALL) == ""
