"""What comes from a file is shown by a terminal, and not obeyed."""

import sys

import pytest

from jaxvl.cli import common
from jaxvl.errors import UserError, printable

NASTY = "a\x1b]0;owned\x07\x9b2J\r\nb\u202egpj.\u2028c\udce9"
SHOWN = "a\\x1b]0;owned\\x07\\x9b2J\\r\\nb\\u202egpj.\\u2028c\\udce9"


def test_control_characters_become_escapes():
    assert printable(NASTY) == SHOWN


@pytest.mark.parametrize(
    "text", ["赤い マグカップ　二つ", "naïve 👩‍👩‍👧 ไทย", "می‌خواهم", "a  b\\n"]
)
def test_what_people_write_stays(text):
    assert printable(text) == text


def test_an_error_is_one_line_that_can_be_printed():
    assert str(UserError("x\n\x1b[2J: y\tz")) == "x \\x1b[2J: y z"


def test_a_command_prints_no_escape_of_a_file(capsys):
    with common.mistakes_in_one_line():
        print(f"read {NASTY}")
        print("\r 50 %|####", file=sys.stderr)
    found = capsys.readouterr()
    assert found.out == f"read {printable(NASTY, keep=chr(13) + chr(10))}\n"
    assert found.err == "\r 50 %|####\n"  # a progress bar is as before


def test_a_command_refuses_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"), common.mistakes_in_one_line():
        raise UserError(NASTY)
    assert capsys.readouterr().err.count("\n") == 1
