"""Scenes: the captions of a record are true of its image, and its negatives are false."""

import collections
import io
import itertools
import multiprocessing

import numpy as np
import pytest
from PIL import Image

from jaxvl.data import scenes
from jaxvl.data.scenes import shapes
from jaxvl.data.scenes.levels import LEVELS
from jaxvl.data.scenes.render import render
from jaxvl.data.scenes.truth import parse, readings
from jaxvl.data.scenes.vocabulary import HELD_OUT, LEXICON, WORDS
from jaxvl.data.scenes.world import Thing, measure, relation_holds
from jaxvl.data.text.clean import clean_caption
from jaxvl.errors import UserError

COUNT, SIZE = 100, 64
WORDS_OF_SHAPES = {word for words in WORDS["shape"].values() for word in words}


@pytest.fixture(scope="module", params=itertools.product(("train", "unseen"), LEVELS), ids=str)
def examples(request):
    """Records of a split and level, each with the world that its image shows."""
    split, level = request.param
    return [
        (
            scenes.record(k, split=split, size=SIZE, seed=3, level=level),
            scenes.world(k, split=split, seed=3, level=level),
        )
        for k in range(COUNT)
    ]


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def thing(shape, colour, x, y, radius=0.1, size="small", texture="plain"):
    return Thing(shape, colour, size, texture, x, y, radius)


def test_a_record_depends_only_on_seed_split_and_index_not_on_the_workers():
    arguments = dict(split="val", count=260, size=16, seed=1)
    alone = list(scenes.generate(**arguments, workers=1))
    for workers in (2, 3):
        together = list(scenes.generate(**arguments, workers=workers))
        assert len(alone) == len(together) == 260
        assert all(same(a, b) for a, b in zip(alone, together))
    assert same(alone[66], scenes.record(66, split="val", size=16, seed=1))
    assert len({record["file_name"] for record in alone}) == 260
    assert len({record["image"] for record in alone}) == 260
    assert not same(alone[0], scenes.record(0, split="val", size=16, seed=2))
    assert alone[0]["image"] != scenes.record(0, split="test", size=16, seed=1)["image"]


def test_a_worker_process_that_dies_ends_the_data_set_with_an_error():
    records = scenes.generate(split="train", count=100_000, size=16, seed=0, workers=2)
    next(records)
    multiprocessing.active_children()[0].kill()
    with pytest.raises(UserError, match="a worker process died"):
        collections.deque(records, maxlen=0)


def test_records_have_the_schema(examples):
    for record, world in examples:
        assert len(record["captions"]) == len(set(record["captions"])) == 5
        assert record["boxes"].shape == (len(world.things), 4)
        assert record["boxes"].dtype == np.float32
        assert record["mentions"].dtype == record["negative_captions"].dtype == np.int64
        assert record["mentions"].shape[1:] == (3,)
        kinds = record["negative_kinds"]
        assert len(kinds) == len(record["negatives"]) == len(record["negative_captions"])
        with Image.open(io.BytesIO(record["image"])) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE, SIZE))


def test_every_caption_is_true_and_no_text_is_longer_than_30_words(examples):
    for record, world in examples:
        for caption in record["captions"]:
            assert scenes.holds(caption, world) is True, caption
        for caption in record["captions"] + record["negatives"]:
            assert clean_caption(caption, max_words=30) == clean_caption(caption, max_words=99)


def test_every_negative_is_false_and_one_change_away_from_its_caption(examples):
    for record, world in examples:
        rows = zip(record["negatives"], record["negative_kinds"], record["negative_captions"])
        for negative, kind, caption in rows:
            assert scenes.holds(negative, world) is False, negative
            before, after = parse(record["captions"][caption]), parse(negative)
            assert after is not None, negative
            changed = [
                (key, a.get(key), b.get(key))
                for a, b in zip(before.descriptions, after.descriptions)
                for key in WORDS
                if a.get(key) != b.get(key)
            ]
            names = [[name for _, name, _ in s.relations] for s in (before, after)]
            if kind == "swap_attribute":
                (key, *one), (key_too, *other) = changed
                assert key == key_too != "shape" and one == other[::-1]
            elif kind == "replace_attribute":
                assert len(changed) == 1 and changed[0][0] != "shape"
            elif kind == "replace_object":
                assert [key for key, _, _ in changed] == ["shape"]
            elif kind == "replace_relation":
                assert not changed and sum(a != b for a, b in zip(*names)) == 1
            else:
                assert kind == "swap_relation"
                assert (not changed) != (names[0] == names[1])


def test_every_kind_of_negative_is_there_wherever_there_are_two_things(examples):
    several = [record for record, world in examples if len(world.things) > 1]
    for kind in ("swap_relation", "replace_attribute", "replace_object", "replace_relation"):
        assert all(kind in record["negative_kinds"] for record in several)
    swapped = sum("swap_attribute" in record["negative_kinds"] for record in several)
    # At level 1, things often share their colour or shape, or a swap names a held-out pair.
    assert swapped > 0.6 * len(several)


def test_every_caption_has_its_own_negatives_of_the_kinds_that_it_allows(examples):
    for record, _ in examples:
        whose = list(zip(record["negative_kinds"], record["negative_captions"].tolist()))
        assert len(set(whose)) == len(whose)
        assert len(set(record["negatives"])) == len(record["negatives"])
        objects = [caption for kind, caption in whose if kind == "replace_object"]
        assert sorted(objects) == list(range(5))  # every caption names one


def test_mentions_are_all_the_words_that_describe_a_thing_and_point_at_that_thing(examples):
    for record, world in examples:
        mentioned = {(c, w): o for c, w, o in record["mentions"].tolist()}
        for c, caption in enumerate(record["captions"]):
            for w, word in enumerate(clean_caption(caption, max_words=30).split()):
                assert (word in LEXICON) == ((c, w) in mentioned), caption
                if word in LEXICON:
                    kind, value = LEXICON[word]
                    assert getattr(world.things[mentioned[c, w]], kind) == value


def test_a_caption_can_be_read_in_one_way_only_and_so_can_its_nouns(examples):
    for record, world in examples:
        for c, caption in enumerate(record["captions"]):
            statement = parse(caption)
            ((chosen, verdict),) = readings(statement, world)
            words = clean_caption(caption, max_words=30).split()
            nouns = [o for k, w, o in record["mentions"] if k == c and words[w] in WORDS_OF_SHAPES]
            assert verdict is True and list(chosen) == nouns
        assert any(
            len(parse(caption).descriptions) == len(world.things) for caption in record["captions"]
        )


def test_boxes_hold_what_is_visible_of_each_thing_and_no_more(examples):
    size = 192
    for record, world in examples[:40]:
        visible = np.full((size, size), -1)
        for k, one in enumerate(world.things):
            rows, columns, distance = shapes.patch(one, size, 0)
            visible[rows, columns][distance <= 0] = k
        for k, box in enumerate(record["boxes"]):
            y, x = np.nonzero(visible == k)
            extent = np.array([y.min(), x.min(), y.max() + 1, x.max() + 1]) / size
            np.testing.assert_allclose(box, extent, atol=2.5 / 96)  # thin tips
            assert len(y) > 25 * (size / 96) ** 2  # enough of it to be recognised


def test_an_image_shows_each_thing_within_its_box_and_only_there():
    """Without a thing the image changes inside its box (and its shadow), and nowhere else."""
    world = scenes.world(5, split="train", seed=3)

    def draw(things):
        return render(measure(things), SIZE, np.random.default_rng(0)).astype(int)

    backdrop = [t._replace(radius=1e-3) for t in world.things]
    for k in range(len(world.things)):
        alone = [*backdrop[:k], world.things[k], *backdrop[k + 1 :]]
        change = abs(draw(alone) - draw(backdrop)).max(axis=2)
        top, left, bottom, right = (np.array(world.extents[k]) * SIZE).round().astype(int)
        inside = change[top:bottom, left:right]
        assert inside.mean() > 20
        change[top - 3 : bottom + 5, left - 3 : right + 5] = 0
        assert change.max() <= 40  # the tiny things in its place


def test_held_out_pairs_are_seen_in_unseen_only_and_their_parts_elsewhere():
    assert 0.1 <= len(HELD_OUT) / (len(WORDS["colour"]) * len(WORDS["shape"])) <= 0.15
    assert {colour for colour, _ in HELD_OUT} == set(WORDS["colour"])
    assert {shape for _, shape in HELD_OUT} == set(WORDS["shape"])
    for split in scenes.SPLITS:
        for k in range(COUNT):
            things = scenes.world(k, split=split, seed=0).things
            shown = {(t.colour, t.shape) for t in things}
            assert len(shown) == len(things)
            assert bool(shown & HELD_OUT) == (split == "unseen")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_captions_and_negatives_of_the_other_splits_never_name_a_held_out_pair(split):
    for k in range(COUNT):
        record = scenes.record(k, split=split, size=16, seed=0)
        for text in record["captions"] + record["negatives"]:
            for description in parse(text).descriptions:
                assert (description.get("colour"), description["shape"]) not in HELD_OUT, text


def test_train_shows_every_other_pair():
    shown = {
        (t.colour, t.shape)
        for k in range(600)
        for t in scenes.world(k, split="train", seed=0).things
    }
    assert shown == set(itertools.product(WORDS["colour"], WORDS["shape"])) - HELD_OUT


def test_shapes_stay_in_their_disc_and_leave_the_room_they_promise():
    y, x = np.mgrid[-1.2:1.2:241j, -1.2:1.2:241j]
    for shape in WORDS["shape"]:
        solid = shapes.DISTANCE[shape](x, y) <= 0
        assert solid.mean() > 0.1
        assert np.hypot(x, y)[solid].max() <= 1.0
        room = np.hypot(x, y) < shapes.ROOM.get(shape, 0)
        assert shape == "ring" and not solid[room].any() or solid[room].all()


RING_WITH_STAR = measure(
    [thing("ring", "blue", 0.5, 0.5, 0.3, "big"), thing("star", "red", 0.5, 0.52)]
)
CROSS_ON_SQUARE = measure(
    [thing("square", "green", 0.3, 0.5, 0.2, "big"), thing("cross", "pink", 0.45, 0.5)]
)
APART = measure([thing("heart", "white", 0.2, 0.2), thing("heart", "black", 0.7, 0.5)])


@pytest.mark.parametrize(
    "world, caption, expected",
    [
        (RING_WITH_STAR, "a red star inside a blue ring", True),
        (RING_WITH_STAR, "A big ring, surrounding one small star.", True),
        (RING_WITH_STAR, "inside a blue ring there is a star that is red and small", True),
        (RING_WITH_STAR, "a blue ring inside a red star", False),
        (RING_WITH_STAR, "a red star in front of a blue ring", None),
        (RING_WITH_STAR, "a red star left of a blue ring", False),
        (CROSS_ON_SQUARE, "pink cross in front of green square", True),
        (CROSS_ON_SQUARE, "a square partly hidden by a cross", True),
        (CROSS_ON_SQUARE, "a pink cross behind a green square", False),
        (CROSS_ON_SQUARE, "a pink cross inside a green square", False),
        (APART, "a white heart to the left of a black heart", True),
        (APART, "a black heart below a white heart", True),
        (APART, "to the left of the black heart is the white heart", True),
        (APART, "a heart right of a heart", True),
        (APART, "a black heart to the left of a white heart", False),
        (APART, "a white heart in front of a black heart", False),
        (APART, "a white heart and a heart and a heart", False),
        (APART, "a red heart", False),
        (APART, "a heart on a table", None),
        (APART, "a red and", None),
        (APART, "a blue green heart", None),
        (APART, "a heart above", None),
    ],
)
def test_a_caption_is_read_and_judged(world, caption, expected):
    assert scenes.holds(caption, world) is expected


def test_relations_that_are_hardly_visible_are_neither_true_nor_false():
    level = measure([thing("heart", "white", 0.2, 0.5), thing("heart", "black", 0.7, 0.5)])
    assert relation_holds(level, 0, "above", 1) is False
    slightly = measure([thing("heart", "white", 0.2, 0.42), thing("heart", "black", 0.7, 0.5)])
    assert relation_holds(slightly, 0, "above", 1) is None
    assert relation_holds(slightly, 1, "above", 0) is False


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="'dev'"):
        scenes.record(0, split="dev", size=16, seed=0)
