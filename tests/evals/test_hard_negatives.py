"""Hard negatives: strict accuracy by kind; perfect, constant and random scorers."""

import jax
import numpy as np
import pytest
import table_model
from ml_collections import ConfigDict

from jaxvl.evals import hard_negatives
from jaxvl.evals.scoring import make_scorer
from jaxvl.sharding import make_mesh

IMAGES = 21
IMAGE_OF_TEXT = [-1 if c % 3 == 2 else c // 3 for c in range(3 * IMAGES)]


def make_records():
    """Two true captions an image, and a false text that contradicts each."""
    return [
        {
            "captions": [str(3 * i), str(3 * i + 1)],
            "negatives": [str(3 * i + 2)] * 2,
            "negative_kinds": ["swap_attribute", "replace_object"],
            "negative_captions": np.array([0, 1]),
        }
        for i in range(IMAGES)
    ]


def run(kind, *, records=None, batch_size=8, mesh=(1, 1), fusion=True, seed=0, match=True):
    records = records or make_records()
    greys = [int(record["captions"][0]) // 3 for record in records]
    examples = table_model.make_examples(records, greys=greys, batch_size=batch_size)
    config = table_model.make_config(rerank=0, batch_size=batch_size)
    config.evals.hard_negatives.match = match
    devices = jax.devices()[: mesh[0] * mesh[1]]
    scorer = make_scorer(
        config,
        model=table_model.make_model(fusion),
        mesh=make_mesh(ConfigDict({"data": mesh[0], "fsdp": mesh[1]}), devices=devices),
        batch_size=batch_size,
    )
    params = table_model.make_params(IMAGE_OF_TEXT, kind=kind, seed=seed)
    return hard_negatives.make(config, scorer=scorer, examples=examples).run(params)


def test_a_perfect_scorer_is_right_on_every_kind():
    names = {"accuracy", "swap_attribute", "replace_object", "itc_accuracy"}
    found = run("perfect")
    assert {name: found.pop(name) for name in names} == dict.fromkeys(names, 1.0)
    assert found.pop("blind_accuracy") < 1  # texts alone do not say it
    assert set(found.values()) == {0.0} and all("false_match" in name for name in found)


def test_a_tie_is_a_failure():
    found = run("constant")
    assert all(value == ("false_match" in name) for name, value in found.items())


def test_an_image_has_one_row_of_each_kind_the_first():
    records = make_records()
    for i, record in enumerate(records):
        record["negatives"] = [*record["negatives"], str(3 * i)]  # true: nothing can outrank it
        record["negative_kinds"] = [*record["negative_kinds"], "swap_attribute"]
        record["negative_captions"] = np.array([0, 1, 0])
    assert run("perfect", records=records)["swap_attribute"] == 1.0


def test_a_random_scorer_is_at_chance():
    found = [run("random", seed=seed)["accuracy"] for seed in range(6)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.12)


def test_a_model_without_fusion_is_judged_by_its_similarity():
    scores = run("random", fusion=False)
    assert scores["accuracy"] == run("random")["itc_accuracy"]
    assert "itc_accuracy" not in scores


@pytest.mark.parametrize("batch_size, mesh", [(1, (1, 1)), (64, (1, 1)), (8, (4, 2))])
def test_neither_batch_size_nor_mesh_changes_a_number(batch_size, mesh):
    assert run("random", batch_size=batch_size, mesh=mesh) == run("random")


def test_the_order_of_the_data_set_changes_nothing():
    assert run("random", records=make_records()[::-1]) == run("random")


def test_every_negative_is_a_row_with_the_caption_it_contradicts():
    records = make_records()
    examples = table_model.make_examples(records, greys=range(IMAGES), batch_size=8)
    rows, tokens = hard_negatives.rows_of(examples)
    assert len(rows.image_R) == 2 * IMAGES
    text_of = tokens.ids[:, 1] - table_model.FIRST
    assert text_of[rows.true_R].tolist() == [3 * i + k for i in range(IMAGES) for k in (0, 1)]
    assert text_of[rows.false_R].tolist() == [3 * i + 2 for i in range(IMAGES) for _ in (0, 1)]


def test_kinds_are_counted_apart():
    scores = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    found = hard_negatives.accuracies(scores, np.array(["a", "a", "b"]))
    assert found == {"accuracy": pytest.approx(2 / 3), "a": 0.5, "b": 1.0}


def test_similarity_can_be_asked_to_decide_where_there_is_a_match_logit():
    by_match, by_similarity = (run("random", match=match) for match in (True, False))
    assert by_similarity["accuracy"] == by_match["itc_accuracy"] != by_match["accuracy"]
    assert "itc_accuracy" not in by_similarity
