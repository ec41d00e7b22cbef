"""Result files: what is in them, how they are shown, and what cannot be read."""

import json
from pathlib import Path

import pytest

from jaxvl import files
from jaxvl.errors import UserError
from jaxvl.training import evaluation

ABOUT = {"step": 3, "split": "val", "data": "data/x"}


@pytest.mark.parametrize(
    "result, folder",
    [
        ("runs/x/results.json", "runs/x/false_match"),
        ("runs/x/results_test.json", "runs/x/false_match_test"),
        ("elsewhere/scores.json", "elsewhere/false_match_scores"),
    ],
)
def test_false_matches_lie_in_a_folder_beside_the_result_file(result, folder):
    assert evaluation.beside(Path(result), "false_match") == Path(folder)


def test_a_score_that_is_not_finite_is_shown(tmp_path, capsys):
    out = tmp_path / "results.json"
    files.write_json(out, {**ABOUT, "grounding/words": 4, "grounding/pointing": float("nan")})
    evaluation.show(out)
    shown = capsys.readouterr().out
    assert "scores on val of data/x after step 3" in shown and "nan %" in shown


def test_the_change_since_the_start_is_shown_for_the_own_evaluation_alone(tmp_path, capsys):
    for name, value in (("start", 0.25), ("results", 0.5), ("results_test", 0.5)):
        files.write_json(tmp_path / f"{name}.json", {**ABOUT, "retrieval/i2t_r1": value})
    evaluation.show(tmp_path / "results.json")
    assert "+25.0" in capsys.readouterr().out
    evaluation.show(tmp_path / "results_test.json")
    assert "+25.0" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[1]", json.dumps({"retrieval/i2t_r1": "high"})])
def test_a_file_without_scores_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="x.json is not a JSON file of scores"):
        evaluation.read_results(tmp_path / "x.json")
