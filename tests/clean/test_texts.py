"""What captions tell without their images."""

import itertools

import numpy as np
import pytest

from jaxvl.clean import texts
from jaxvl.data.folder.cells import masked


def test_shared_captions_are_counted_by_image_whatever_their_signs_and_capitals():
    captions_I = [["A red cup.", "cups"], ["a red cup"], ["A red cup!", "a red cup"], ["a tree"]]
    found = texts.shared(captions_I, batch=2, most=5)
    assert found.most == [("A red cup.", 3)]
    assert found.images == 3 and found.distinct == 3


def test_false_negatives_of_a_batch_are_as_many_as_drawing_batches_gives():
    captions_I = [["a"], ["a", "b"], ["b", "c", "c"], ["d"], ["a", "a"], ["b"]]
    found = texts.shared(captions_I, batch=4, most=0).pairs
    drawn = [
        sum(one == other for one, other in itertools.combinations(chosen, 2))
        for images in itertools.combinations(captions_I, 4)
        for chosen in itertools.product(*images)
        for _ in range(36 // int(np.prod([len(captions) for captions in images])))
    ]
    assert found == pytest.approx(np.mean(drawn))


def test_no_shared_caption_is_no_false_negative():
    assert texts.shared([["a"], ["b"]], batch=256, most=5) == texts.Shared(2, 0, 0.0, [])
    assert texts.shared([["a"]], batch=256, most=5).pairs == 0


def test_lengths_and_the_last_of_them_is_open():
    counts = texts.by_length(texts.lengths(["a", "a b c d", "a " * 40], words=""))
    assert [each["captions"] for each in counts] == [1, 1, 0, 0, 1]
    assert counts[-1]["last"] is None


def test_scripts_of_captions_kana_tells_japanese_from_chinese():
    captions = ["a dog", "赤いりんご", "红苹果", "красная чашка", "!?", "un café"]
    assert texts.by_script(captions) == {
        "Latin": 2,
        "Cyrillic": 1,
        "Han": 1,
        "Japanese": 1,
        "no letters": 1,
    }


@pytest.mark.parametrize(
    "caption, shown",
    [
        ("write to a.b@example.com now", "write to [e-mail] now"),
        ("call +81 3-1234-5678", "call [phone]"),
        ("１２ cups of 2024-05-01 at 10", "１２ cups of 2024-05-01 at 10"),
        ("a@example.com on 2024-05-01 at 10", "[e-mail] on 2024-05-01 at 10"),
        ("a@example.com, (03) 1234 5678", "[e-mail], [phone]"),
    ],
)
def test_addresses_and_numbers_are_found_and_not_shown(caption, shown):
    assert masked(caption) == shown
    assert texts.personal([caption]) == ([0] if shown != caption else [])
