"""Pairs of an attribute and a thing: which are counted, and which are too few."""

import pytest

from jaxvl.clean import pairs
from jaxvl.errors import UserError


def captions(**counts):
    """One image for each: {"red_cup": 3} is three captions, "a red cup"."""
    return [[f"a {words.replace('_', ' ')}"] for words, n in counts.items() for _ in range(n)]


def test_pairs_are_counted_once_an_image_and_by_what_they_say():
    found = pairs.count([["a small red cup", "the cup is red"], ["a little crimson cup", "a tree"]])
    assert found.language == "english" and found.images == 2
    assert found.attributes == {"little": 2, "red": 2}
    assert found.table["red", "cup"] == 2
    assert found.things == {"cup": 2, "tree": 1}


def test_a_pair_that_is_missing_is_named_with_what_was_expected():
    counts = dict(red_cup=40, green_cup=40, red_ball=40, green_ball=0, green_box=40, red_box=40)
    found = pairs.count(captions(**counts))
    assert [(few.attribute, few.of, few.images) for few in found.few] == [("green", "ball", 0)]
    assert found.few[0].expected == pytest.approx(40 * 80 / 200)


def test_two_attributes_of_one_thing_are_a_pair_too():
    counts = dict(small_red_cup=0, large_red_cup=40, small_green_cup=40, large_green_cup=40)
    counts |= dict(red_box=40)
    found = pairs.count(captions(**counts))
    assert ("red", "small", 0) in [(few.attribute, few.of, few.images) for few in found.few]


def test_what_was_never_expected_is_not_too_few():
    assert pairs.count(captions(red_cup=5, green_cup=5, red_ball=5, green_ball=0)).few == []


def test_a_language_without_rules_is_refused_by_name():
    with pytest.raises(UserError, match="Cyrillic"):
        pairs.count([["красная чашка"], ["зелёный мяч"]])
