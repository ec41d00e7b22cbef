"""The levels of Scenes: an easier one shows and says less; the hardest stays what it was."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from jaxvl.data import scenes
from jaxvl.data.scenes.levels import DEFAULT_LEVEL, LEVELS
from jaxvl.data.scenes.truth import parse
from jaxvl.data.text.clean import clean_caption

COUNT = 150
RELATIONS_OF_LEVEL = {
    1: {"left", "right", "above", "below"},
    2: {"left", "right", "above", "below", "inside", "around", "front", "behind"},
}

# Before there were levels: SHA-256 of words and boxes of records 0 to 19 at 48 px, seed 3; and the
# means of the pixels of the first five, since another processor may round a pixel another way.
BEFORE_LEVELS = {
    "train": (
        "3078e7d0d9da2701f35a56431b2e25cebcc439141b1785ce3814f4b89a579338",
        [96.97, 128.69, 166.54, 148.84, 165.27],
    ),
    "val": (
        "49674563cd043e96430721c1c4a7750ca09559b0b7eb7e664dd105f062306b32",
        [103.17, 166.74, 88.5, 83.02, 103.35],
    ),
    "test": (
        "9320f88ce26e66d6793a9e6c8cf2a885e3a6c7e6cdb9fe7723448213740d89cf",
        [99.51, 109.8, 113.23, 147.66, 165.72],
    ),
    "unseen": (
        "8778c12bfa5e8a34de9b8d510ea2b90d27a5aac607a897e8cc173530dc2c2651",
        [78.63, 117.21, 113.86, 70.06, 83.77],
    ),
}


def words_and_boxes(record):
    names = ("captions", "negatives", "negative_kinds", "negative_captions", "mentions", "boxes")
    return json.dumps([np.asarray(record[name]).tolist() for name in names])


def pixels(record):
    return np.asarray(Image.open(io.BytesIO(record["image"])), float)


@pytest.fixture(scope="module", params=[(1, "train"), (1, "unseen"), (2, "train"), (2, "unseen")])
def made(request):
    """(level, split, records, worlds) of an easier level."""
    level, split = request.param
    records = [scenes.record(k, split=split, size=48, seed=5, level=level) for k in range(COUNT)]
    worlds = [scenes.world(k, split=split, seed=5, level=level) for k in range(COUNT)]
    return level, split, records, worlds


@pytest.mark.parametrize("split", scenes.SPLITS)
def test_the_default_level_gives_the_records_that_there_were_before_levels(split):
    digest, means = BEFORE_LEVELS[split]
    records = [scenes.record(k, split=split, size=48, seed=3) for k in range(20)]
    words = "".join(map(words_and_boxes, records))
    assert hashlib.sha256(words.encode()).hexdigest() == digest
    np.testing.assert_allclose([pixels(r).mean() for r in records[:5]], means, atol=0.02)


def test_the_default_is_the_hardest_level():
    assert DEFAULT_LEVEL == max(LEVELS) == 3


def test_things_are_those_of_the_level(made):
    level, split, _, worlds = made
    rules = LEVELS[level]
    for world in worlds:
        assert len(world.things) in rules.counts
        for thing in world.things:
            assert thing.colour in rules.words["colour"] and thing.shape in rules.words["shape"]
            assert thing.size in rules.radii and thing.texture == "plain"
            assert thing.radius >= min(low for low, _ in rules.radii.values())
        shown = {(thing.colour, thing.shape) for thing in world.things}
        assert bool(shown & scenes.HELD_OUT) == (split == "unseen")
    assert {len(world.things) for world in worlds} == set(rules.counts)


@pytest.mark.parametrize("level, held_out", [(1, 3), (2, 10), (3, 10)])
def test_every_level_holds_out_a_tenth_of_its_pairs(level, held_out):
    words = LEVELS[level].words
    assert len(LEVELS[level].held_out) == held_out
    assert 10 * held_out == len(words["colour"]) * len(words["shape"])


@pytest.mark.parametrize("level, size, longest", [(1, 24, 10), (2, 47, 27)])
def test_an_easier_level_has_few_words_one_for_each_meaning(level, size, longest):
    words, captions = set(), 0
    for split in ("train", "unseen"):
        for k in range(COUNT):
            record = scenes.record(k, split=split, size=16, seed=5, level=level)
            for text in record["captions"]:
                captions = max(captions, len(text.split()))
            for text in record["captions"] + record["negatives"]:
                words |= set(clean_caption(text, max_words=30).split())
    assert len(words) == size
    assert captions <= longest


def test_relations_and_attributes_are_those_of_the_level(made):
    level, _, records, _ = made
    relations, named = set(), set()
    for record in records:
        for text in record["captions"] + record["negatives"]:
            statement = parse(text)
            relations |= {name for _, name, _ in statement.relations}
            named |= {kind for description in statement.descriptions for kind in description}
    assert relations == RELATIONS_OF_LEVEL[level]
    assert named == set(LEVELS[level].words)


def test_at_level_1_a_caption_names_colours_and_never_after_the_noun():
    for k in range(COUNT):
        record = scenes.record(k, split="train", size=16, seed=5, level=1)
        for caption in record["captions"]:
            assert " that " not in caption
            assert all("colour" in one for one in parse(caption).descriptions), caption


def test_a_background_is_calmer_at_an_easier_level():
    def roughness(level):
        images = [scenes.record(k, split="val", size=48, seed=0, level=level) for k in range(60)]
        steps = [abs(np.diff(pixels(image), axis=1)).mean(axis=(1, 2)) for image in images]
        return np.median([rows.min() for rows in steps])  # of the row with least of the things

    easy, middle, hard = map(roughness, (1, 2, 3))
    assert easy < 0.6 * middle and middle < 0.8 * hard
