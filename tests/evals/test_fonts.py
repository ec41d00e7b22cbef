"""Pictures have the letters of a text, and the terminal shows them in columns."""

import pytest

from jaxvl.cli.explain import columns_of
from jaxvl.evals import fonts
from jaxvl.evals.draw import _wrap


def drawn(text):
    return {bytes(fonts.font_of(text, 20).getmask(letter)) for letter in text}


def test_a_japanese_text_is_drawn_in_letters_and_not_in_boxes():
    pytest.importorskip("matplotlib_fontja", reason="the extra [japanese] is not installed")
    assert len(drawn("赤いマグカップ")) == 7
    assert "DejaVu" in fonts.font_of("a café “red”", 20).path


def test_letters_that_no_font_has_are_said_once(capsys):
    fonts._say_missing.cache_clear()
    for _ in range(2):
        assert fonts.font_of("\U00013000\U0001f9ff\u1c00", 20)
    assert capsys.readouterr().err.count("no font on this machine") == 1


def test_a_line_without_blanks_is_broken():
    lines = _wrap("あ" * 90, 20, False, 600)
    assert "".join(lines) == "あ" * 90 and len(lines) > 1
    assert _wrap("a b", 20, False, 600) == ["a b"]


@pytest.mark.parametrize("word, columns", [("red", 3), ("赤い", 4), ("ｶﾞ", 2), ("สี", 1)])
def test_columns(word, columns):
    assert columns_of(word) == columns
