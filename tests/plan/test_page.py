"""The tables of docs/scaling.md are those of docs/plans.json, and name what made them."""

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def plans():
    spec = importlib.util.spec_from_file_location("plans", DOCS / "plans.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_tables_of_what_was_compiled(plans):
    """`python docs/plans.py --tables` writes them."""
    text = plans.PAGE.read_text()
    assert text.partition(plans.BEGIN)[2].partition(plans.END)[0] == plans.tables(plans.kept())


def test_every_plan_of_the_page_names_the_compiler_and_its_figures(plans):
    for name, plan in plans.kept().items():
        one = plan["plans"][0]
        assert name == f"{one['config']} on {one['target']}"
        assert one["made_by"].startswith("libtpu ") and ", jax " in one["made_by"]
        assert one["fits"] and one["needed"] == sum(one["memory"].values()) + one["next_batch"]


def test_a_plan_that_is_kept_is_not_made_again_and_one_of_another_version_is(
    plans, tmp_path, monkeypatch
):
    monkeypatch.setattr(plans, "PLANS", tmp_path / "plans.json")
    monkeypatch.setattr(plans.importlib.metadata, "version", {"libtpu": "0.1", "jax": "0.2"}.get)
    called = []

    def run(command, **_):
        called.append(command[command.index("--on") + 1])
        made = [{"plans": [{"made_by": "libtpu 0.1, jax 0.2"}]}]
        return type("Done", (), {"returncode": 0, "stdout": json.dumps(made)})

    monkeypatch.setattr(plans.subprocess, "run", run)
    plans.keep("a on v5e:4x4", {"plans": [{"made_by": "libtpu 0.1, jax 0.2"}]})
    plans.keep("a on v6e:4x4", {"plans": [{"made_by": "libtpu 0.0, jax 0.2"}]})
    for target in plans.SLICES:
        plans.make("a", target)
    assert called == ["v6e:4x4", "v5p:2x2x2"]
    assert sorted(plans.kept()) == ["a on v5e:4x4", "a on v5p:2x2x2", "a on v6e:4x4"]
