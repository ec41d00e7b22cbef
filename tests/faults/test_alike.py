"""What two processes of a run must have in common, and how a difference is told."""

import json

import pytest
from tokenizers import Tokenizer, models

from jaxvl.training import alike, record


def facts(config, **kinds):
    return {**json.loads(json.dumps(alike.program(config))), **kinds}


def test_nothing_is_told_of_two_that_are_the_same(toy_config):
    toy_config.unlock()
    one = facts(toy_config)
    toy_config.data.dir = "/another/place"  # what lies there is compared, not the place
    assert alike.difference(("b", facts(toy_config)), ("a", one)) == ""


def test_another_value_of_a_key_is_named_with_both_values(toy_config):
    one = facts(toy_config)
    toy_config.batch_size = 16
    assert alike.difference(("process 3 on b", facts(toy_config)), ("process 0 on a", one)) == (
        "process 3 on b and process 0 on a differ in configuration: batch_size (16 and 8); give "
        "the same command on all hosts"
    )


def test_a_library_of_another_version_is_named_before_all_that_follows_from_it(toy_config):
    one, other = facts(toy_config), facts(toy_config)
    other["libraries"] = {**one["libraries"], "jax": "0.1", "numpy": "1.0"}
    other["configuration"] = {}
    told = alike.difference(("b", other), ("a", one))
    assert f"libraries: jax (0.1 and {record.libraries()['jax']}), and in 1 more" in told


def test_every_file_of_the_package_counts(toy_config):
    code = facts(toy_config)["code"]
    assert {"jaxvl/training/loop.py", "jaxvl/losses/itm.py", "jaxvl/__init__.py"} <= set(code)


@pytest.mark.parametrize("changed", ["train", "held_out", "negatives", "tokenizer", "steps"])
def test_other_data_or_another_tokenizer_is_noticed(changed):
    split = {"name": "x:train", "fingerprint": "f:train", "examples": 9, "weight": 1.0}
    described = {"train": [split], "held_out": {**split, "fingerprint": "f:val"}, "negatives": None}
    words, steps = Tokenizer(models.WordLevel({"a": 0}, "a")), [10, 20]
    one = alike.data(described, words, steps=steps)
    assert alike.difference(("b", one), ("a", one)) == ""
    replaced = {
        "train": [{**split, "fingerprint": "g:train"}],
        "held_out": None,
        "negatives": "n",
    }
    other = {**described, changed: replaced.get(changed)} if changed in described else described
    words = Tokenizer(models.WordLevel({"b": 0}, "b")) if changed == "tokenizer" else words
    steps = [] if changed == "steps" else steps
    assert alike.difference(("b", alike.data(other, words, steps=steps)), ("a", one))


def test_other_weights_are_noticed(tmp_path):
    found = []
    for content in ("one", "one", "other"):
        (tmp_path / "weights.pth").write_text(content)
        found.append(("x", alike.weights(str(tmp_path / "weights.pth"))))
    assert alike.difference(found[0], found[1]) == ""
    assert "weights.pth" in alike.difference(found[0], found[2])
