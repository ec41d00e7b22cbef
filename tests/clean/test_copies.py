"""Copies: which of several stays, which image each is like, and what is only perhaps a copy."""

import numpy as np
import planted
from PIL import Image

from jaxvl.clean import copies


def colours(*images):
    return np.stack([np.asarray(image.resize((16, 16), Image.Resampling.BOX)) for image in images])


def test_the_first_in_the_order_stays_and_the_others_are_like_it():
    image = planted.photo(0)
    all_of_them = colours(planted.photo(1), image, planted.copied(image, 2), image)
    hashes = np.array([0xFF00FF00FF00FF00, 7, 15, 7], np.uint64)
    found, perhaps = copies.find(hashes, all_of_them, order=[0, 3, 1, 2])
    assert [(each.image, each.of, each.bits) for each in found] == [(1, 3, 0), (2, 3, 1)]
    assert all(each.correlation > 0.95 for each in found) and perhaps == []


def test_each_copy_is_like_the_one_that_stays_and_not_only_like_another_copy():
    hashes = np.array([0, 0b11111111, 0xFFFF], np.uint64)  # 8 bits from one to the next, 16 in all
    same = colours(*[planted.photo(0)] * 3)
    found, _ = copies.find(hashes, same, order=[0, 1, 2])
    assert [(each.image, each.of) for each in found] == [(1, 0)]


def test_equal_outlines_in_other_colours_are_no_copy():
    red = Image.new("RGB", (64, 64), (200, 40, 40))
    red.paste((90, 90, 90), (0, 0, 64, 20))
    blue = Image.merge("RGB", red.split()[::-1])
    found, perhaps = copies.find(np.zeros(2, np.uint64), colours(red, blue), order=[0, 1])
    assert found == [] and perhaps == []


def test_what_is_less_alike_is_a_perhaps_and_stays():
    image = planted.photo(0)
    other = Image.blend(image, planted.photo(1), 0.36)
    stack = colours(image, other, other)
    found, perhaps = copies.find(np.array([0, 3, 3], np.uint64), stack, order=[0, 1, 2])
    assert [(each.image, each.of) for each in perhaps] == [(1, 0)]
    assert [(each.image, each.of) for each in found] == [(2, 1)]


def test_a_model_s_most_alike_pairs_come_once_and_first():
    rows = np.array([[1, 0, 0], [0, 1, 0], [0.995, 0.1, 0], [0, 0.9, 0.436]], np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert [pair[:2] for pair in copies.alike(rows, most=5)] == [(0, 2), (1, 3)]
    assert len(copies.alike(rows, most=1)) == 1
