"""Files of a benchmark are read as tolerantly as a user's tables."""

import json

import pytest
from published import ROWS, sugarcrepe, winoground

from jaxvl.evals import EVALUATORS
from jaxvl.evals.compositional import annotations


def read(name, path):
    return annotations.read(EVALUATORS[name].benchmark, path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_mark_of_the_encoding_is_passed_over(tmp_path, encoding):
    path = tmp_path / "swap_obj.json"
    path.write_text(json.dumps([sugarcrepe(i) for i in range(ROWS)]), encoding=encoding)
    assert len(read("sugarcrepe", path).cases) == ROWS
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(json.dumps(winoground(i)) for i in range(3)), encoding=encoding)
    assert len(read("winoground", path).cases) == 3


def test_a_line_may_hold_other_line_ends(tmp_path):
    row = winoground(0) | {"caption_0": "one\u2028two\u0085three"}
    path = tmp_path / "examples.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read("winoground", path).cases[0].true == (row["caption_0"],)


@pytest.mark.parametrize("count", [244, 246])
def test_another_edition_is_read_with_a_note(tmp_path, count):
    path = tmp_path / "swap_obj.json"
    path.write_text(json.dumps([sugarcrepe(i) for i in range(count)]))
    found = read("sugarcrepe", path)
    assert len(found.cases) == count
    assert f"swap_obj.json {count} of 245 rows" in " ".join(found.notes)
