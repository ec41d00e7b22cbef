"""Tables of scores: aligned, grouped, with the change beside them."""

from jaxvl.evals import tables


def test_the_table_is_aligned_and_grouped():
    rows = tables.table({"retrieval/i2t_r1": 0.5, "retrieval/r": 1.0, "grounding/hit": 0.25})
    assert rows.splitlines() == [
        "  retrieval/i2t_r1      50.0 %",
        "  retrieval/r          100.0 %",
        "",
        "  grounding/hit         25.0 %",
    ]


def test_the_change_stands_beside_the_shares_that_both_have():
    now, before = {"a/r1": 0.5, "a/rows": 7, "a/new": 1.0}, {"a/r1": 0.25, "a/rows": 7}
    assert tables.change(now, before) == {"a/r1": 0.25}
    assert tables.change_table(now, before, title="start").splitlines() == [
        "               now               start    change",
        "  a/r1        50.0 %            25.0 %     +25.0",
        "  a/rows           7",
        "  a/new      100.0 %",
    ]
