"""Covered parts of images: the right pixels, nested shares, one draw for a seed and an image."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals import covering
from jaxvl.evals.examples import Examples
from jaxvl.preprocessing import PIXEL_MEAN

IMAGES = 21


def config_of(*, image_size, patch_size=1, seed=0):
    model = {"image": {"patch_size": patch_size}}
    return ConfigDict({"seed": seed, "data": {"image_size": image_size}, "model": model})


def pixels_of(cover, count=IMAGES):
    """Returns bool [I, S, S], the covered pixels of each image."""
    return np.stack([cover(i) for i in range(count)])


def test_covered_pixels_have_the_mean_colour_and_the_others_are_as_they_were():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 4, 3), np.uint8)
    batch = {"image": images.copy(), "index": np.array([7, 3]), "mask": np.ones(2, bool)}
    (found,) = covering.covered([batch], lambda index: np.eye(4, dtype=bool) & (index == 3))
    np.testing.assert_array_equal(batch["image"], images)
    np.testing.assert_array_equal(found["image"][0], images[0])
    on = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(found["image"][1][~on], images[1][~on])
    np.testing.assert_allclose(found["image"][1][on] / 255 - PIXEL_MEAN, 0, atol=0.5 / 255)
    assert found["index"] is batch["index"] and found["mask"] is batch["mask"]


def test_shares_are_nested_and_of_whole_patches():
    config = config_of(image_size=32, patch_size=4)
    before = np.zeros((IMAGES, 32, 32), bool)
    for share in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0):
        now = pixels_of(covering.random_patches(config, share))
        assert (now | ~before).all()
        assert (now.sum(axis=(1, 2)) == round(64 * share) * 16).all()
        patches = now.reshape(IMAGES, 8, 4, 8, 4).sum(axis=(2, 4))
        assert set(np.unique(patches)) <= {0, 16}
        before = now


def test_a_draw_depends_on_the_seed_and_the_image_alone():
    orders = {(s, i): covering.patch_order(s, i, 64).tolist() for s in (0, 1) for i in range(5)}
    assert len(set(map(tuple, orders.values()))) == 10
    assert covering.patch_order(1, 3, 64).tolist() == orders[1, 3]
    assert sorted(orders[0, 0]) == list(range(64))


@pytest.mark.parametrize(
    "box, rows, columns",
    [
        ((0.0, 0.5, 0.5, 1.0), (0, 4), (4, 8)),
        ((0.1, 0.3, 0.2, 0.4), (0, 2), (2, 4)),  # every pixel that it touches
        ((1.0, 1.0, 1.0, 1.0), (7, 8), (7, 8)),
    ],
)
def test_a_box_covers_the_pixels_that_it_touches(box, rows, columns):
    assert covering.box_pixels(box, 8) == (slice(*rows), slice(*columns))


def drawn_with(boxes):
    count = 1 + max(boxes)
    tokens = Tokens(*(np.zeros((count, 1), int),) * 3)
    return covering.Drawn(tokens, np.arange(count), [{i} for i in range(count)], None, boxes)


def test_a_box_elsewhere_has_the_size_of_the_objects_and_keeps_off_it():
    config = config_of(image_size=16)
    boxes = {i: (0.25, 0.25, 0.75, 0.5) for i in range(50)} | {50: (0, 0, 1, 1)}
    drawn = drawn_with(boxes)
    own = pixels_of(covering.objects(config, drawn), 52)
    other = pixels_of(covering.elsewhere(config, drawn), 52)
    assert (own.sum(axis=(1, 2)) == other.sum(axis=(1, 2))).all()
    assert not (own[:50] & other[:50]).any()
    assert len({mask.tobytes() for mask in other[:50]}) > 20
    assert own[50].all() and other[50].all()  # there is no other place
    assert not own[51].any() and not other[51].any()  # no word names an object
    config.seed = 1
    again = pixels_of(covering.elsewhere(config, drawn), 52)
    assert (again != other).any()


def test_a_heatmap_covers_its_highest_patches_as_many_as_the_box_has():
    config = config_of(image_size=8)
    relevance = np.arange(16.0)
    drawn = drawn_with({0: (0, 0, 0.5, 0.3), 1: (0, 0, 0.01, 0.01), 2: (0, 0, 0.5, 0.5)})
    cover = covering.heatmap_patches(config, drawn, {0: relevance, 1: relevance, 2: np.zeros(16)})
    patches = [np.flatnonzero(cover(i)[::2, ::2]).tolist() for i in range(4)]
    assert patches[0] == [14, 15]  # 2.4 patches
    assert patches[1] == [15]
    assert patches[2] == sorted(covering.patch_order(0, 2, 16)[:4].tolist())
    assert patches[3] == []


def tokenize(captions):
    """One token a word after [CLS], four tokens at most; the id of a word is its first letter."""
    ids, words = np.zeros((len(captions), 4), int), np.full((len(captions), 4), -1)
    for row, caption in enumerate(captions):
        for place, word in enumerate(caption.split()[:3], start=1):
            ids[row, place], words[row, place] = ord(word[0]), place - 1
    return Tokens(ids, ids > 0, words)


def examples_of(records):
    return Examples(records, lambda: iter(()), tokenize)


def test_a_word_is_drawn_with_its_caption_and_its_box():
    record = {
        "captions": ["no object", "a cube", "ball near cube long"],
        "boxes": np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5]]),
        "mentions": np.array([[1, 1, 0], [2, 0, 1], [2, 2, 0], [2, 3, 1]]),
    }
    drawn = covering.draw(examples_of([record] * 200), seed=0)
    found = {
        (chr(drawn.tokens.ids[i, drawn.token_I[i]]), tuple(drawn.boxes[i].tolist()))
        for i in range(200)
    }
    assert found == {("c", (0, 0, 1, 1)), ("b", (0, 0, 0.5, 0.5))}  # "long" is not read
    again = covering.draw(examples_of([record] * 3), seed=0)
    assert again.token_I.tolist() == drawn.token_I[:3].tolist()


def test_an_image_without_a_named_object_has_a_caption_and_no_word():
    record = {"captions": ["one", "two"], "boxes": [], "mentions": []}
    drawn = covering.draw(examples_of([record] * 40), seed=0)
    assert not drawn.boxes and set(drawn.token_I) == {-1}
    assert {chr(first) for first in drawn.tokens.ids[:, 1]} == {"o", "t"}


def test_a_wrong_caption_is_of_another_image_and_reads_like_none_of_its_own():
    words = [["a", "b"], ["b"], ["c"], ["d"], ["e"], ["b", "f"]]
    records = [{"captions": captions, "boxes": [], "mentions": []} for captions in words]
    drawn = covering.draw(examples_of(records), seed=0)
    lengths = set()
    for seed in range(20):
        pairs = covering.wrong_captions(drawn, np.arange(6), seed=seed)
        for image, other in pairs:
            assert chr(drawn.tokens.ids[other, 1]) not in words[image]
        assert len(set(pairs[:, 1])) == len(pairs)
        lengths.add(len(pairs))
    assert 6 in lengths and min(lengths) < 6
    rows = np.array([1, 4, 5])
    for image, other in covering.wrong_captions(drawn, rows, seed=0):
        assert chr(drawn.tokens.ids[rows[other], 1]) not in words[rows[image]]
    assert len(covering.wrong_captions(drawn, np.array([3]), seed=0)) == 0
