"""Caption cleaning."""

import pytest

from jaxvl.data.text.clean import clean_caption


@pytest.mark.parametrize(
    "written, cleaned",
    [
        ("A Dog, running!", "a dog running"),
        ("tri-colored/black dog", "tri colored black dog"),
        ("  tabs\tand \n lines ", "tabs and lines"),
        ('what\'s "this"? (a #1 *star*): yes; ~ok.', "whats this a 1 star yes ok"),
        ("a <person> waves", "a person waves"),
        ("a 🐕 in the snow", "a 🐕 in the snow"),
        ("???", ""),
        ("", ""),
    ],
)
def test_cleaning(written, cleaned):
    assert clean_caption(written, max_words=30) == cleaned


def test_long_captions_are_truncated_to_max_words():
    assert clean_caption("Word, " * 10_000, max_words=30) == " ".join(["word"] * 30)


def test_cleaning_twice_is_cleaning_once():
    once = clean_caption("A -- dog's . (tail) / ear", max_words=30)
    assert clean_caption(once, max_words=30) == once
