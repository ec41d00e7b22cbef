"""False matches by quintile of similarity and by kind: as a table, a text and a plot."""

import numpy as np
import pytest
from PIL import Image

from jaxvl.evals import false_match
from jaxvl.evals.false_match import Contrasts, Findings

ALIKE = [  # ever more alike
    ("a red cube", "two dogs run"),
    ("a red cube on a table", "a dog on the grass here"),
    ("a red cube on a table", "a red ball on a lawn"),
    ("a red cube on a wide table", "a red cube on a wide shelf"),
    ("a red cube left of a blue ball", "a blue cube left of a red ball"),
]


def contrasts(wrong, kinds=None, pairs=ALIKE):
    true, false = zip(*pairs)
    kinds = kinds or ["noun"] * len(pairs)
    return Contrasts(list(true), list(false), np.array(kinds), np.array(wrong, bool))


def test_similarity_is_one_for_one_text_and_falls_with_what_differs():
    found = [false_match.similarity(*pair) for pair in ALIKE]
    assert found == sorted(found) and len(set(found)) == 5
    assert found[0] == 0.0
    assert false_match.similarity("A red cube.", "a red cube") == pytest.approx(1.0)
    assert false_match.similarity("", "a") < 1


def test_the_last_quintile_is_the_most_alike():
    rates = false_match.by_quintile(contrasts([0, 0, 0, 0, 1]))
    assert rates == {f"false_match_q{q}": float(q == 5) for q in (1, 2, 3, 4, 5)}


def test_rates_and_rows_by_kind():
    found = contrasts([0, 1, 1, 0, 1] * 2, ["noun"] * 5 + ["verb"] * 5, ALIKE * 2)
    table = false_match.tabulate(found)
    assert table.names == ["all", "noun", "verb"]
    assert table.rows_KxQ.tolist() == [[2] * 5 + [10], [1] * 5 + [5], [1] * 5 + [5]]
    assert table.rate_KxQ[:, -1].tolist() == [0.6, 0.6, 0.6]
    assert table.rate_KxQ[0, :5].tolist() == [0, 1, 1, 0, 1]


def test_the_order_of_the_rows_changes_nothing():
    rng, wrong = np.random.default_rng(0), np.arange(40) % 3 == 0
    pairs = ALIKE * 8
    order = rng.permutation(40)
    shuffled = contrasts(wrong[order], pairs=[pairs[i] for i in order])
    assert false_match.by_quintile(shuffled) == false_match.by_quintile(
        contrasts(wrong, pairs=pairs)
    )


def test_rows_of_one_similarity_stay_together():
    rates = false_match.by_quintile(contrasts([0, 1, 1, 0, 1], pairs=[ALIKE[3]] * 5))
    assert rates == {"false_match_q1": 0.6}


def test_a_table_a_plot_and_what_was_left_out(tmp_path):
    kinds = ["noun", "noun", "verb", "verb", "verb"]
    findings = Findings(contrasts([0, 0, 0, 0, 1], kinds), {"a.jpg": "missing file"})
    path = findings.write(tmp_path / "plots", "sugarcrepe")
    text = (tmp_path / "plots" / "sugarcrepe.md").read_text()
    assert "| verb | – | – | 0.0 % (1) | 0.0 % (1) | 100.0 % (1) | 33.3 % (3) |" in text
    assert "- `a.jpg`: missing file" in text
    assert Image.open(path).width > 600
    assert sorted(p.name for p in path.parent.iterdir()) == ["sugarcrepe.md", "sugarcrepe.png"]
