"""The audit of heat-maps on real models: what is drawn, covered and written."""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxvl import evals, sharding
from jaxvl.data import sources
from jaxvl.errors import UserError
from jaxvl.evals import audit, audit_maps
from jaxvl.evals.examples import make_examples
from jaxvl.training import experiment

OPTIONS = {"occurrences": 4, "least": 2, "share": 0.2}


@pytest.fixture
def basis(tiny_config):
    tiny_config.evals.audit = OPTIONS
    tiny_config.evals.hard_negatives = tiny_config.evals.grounding = None
    tiny_config.mesh.data = 8
    return experiment.open_basis(tiny_config)


def source_of(basis):
    return sources.open_prepared(basis.config.data.dir, split="val")


def examples_of(basis):
    return make_examples(basis.config, source=source_of(basis), tokenizer=basis.tokenizer)


def test_occurrences_are_drawn_and_each_has_its_caption_without_the_word(basis):
    examples = examples_of(basis)
    chosen = audit.choose(examples, OPTIONS, seed=0)
    again = audit.choose(examples, OPTIONS, seed=0)
    np.testing.assert_array_equal(chosen.image_K, again.image_K)
    words, counts = np.unique(chosen.spelt, return_counts=True)
    assert counts.max() == OPTIONS["occurrences"] and len(words) > 5
    assert any(box is not None for box in chosen.boxes)
    for word, image, token, without in zip(
        chosen.spelt, chosen.image_K, chosen.token_K, chosen.without.ids
    ):
        ids, mask, words = (field[image] for field in chosen.tokens)
        pieces = [basis.tokenizer.id_to_token(int(k)) for k in ids[words == words[token]]]
        assert "".join(piece.removeprefix("##") for piece in pieces) == word
        own = ids[mask & (words != words[token])]
        np.testing.assert_array_equal(without[: len(own)], own)


def test_shuffled_weights_are_the_same_numbers_elsewhere():
    params = {"a": jax.numpy.arange(60.0).reshape(3, 20), "b": jax.numpy.ones(())}
    mixed = audit_maps.shuffled(params, seed=0)
    assert sorted(mixed["a"].reshape(-1).tolist()) == list(range(60))
    assert mixed["a"].shape == (3, 20) and (mixed["a"] != params["a"]).mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("model", ["albef", "clip"])
def test_a_model_is_audited_and_its_words_are_written_alike_in_any_batches(basis, model, tmp_path):
    config = basis.config.copy_and_resolve_references().unlock()
    if model == "clip":
        config.model.name = config.method = "clip"
        config.data.add_sep = True
        basis = experiment.open_basis(config)

    def run(batch_size, devices):
        chosen = basis.config.copy_and_resolve_references()
        chosen.eval.batch_size = batch_size
        mesh = sharding.make_mesh(
            ConfigDict({"data": devices, "fsdp": 1}), devices=jax.devices()[:devices]
        )
        parts = dict(model=basis.model, source=source_of(basis), tokenizer=basis.tokenizer)
        evaluator = evals.make_evaluators(chosen, mesh=mesh, **parts)["audit"]
        params = jax.jit(basis.model.init)(jax.random.key(1))
        return evaluator.findings(jax.device_put(params, sharding.replicated(mesh)))

    results, findings = run(8, 1)
    if model == "clip":  # once is enough, and costs half a minute
        same, _ = run(6, 2)
        assert results.keys() == same.keys()
        for name in ("pointing", "energy", "selectivity", "explained_by_one_map"):
            assert results[name] == pytest.approx(same[name], abs=0.02), name
    assert all(0 <= value <= 1 for name, value in results.items() if isinstance(value, float))
    assert results["words"] == len(findings.rows) > 5
    findings.write(tmp_path / "audit", "audit")
    written = json.loads((tmp_path / "audit" / "words.json").read_text())["words"]
    assert [row["word"] for row in written] == [row["word"] for row in findings.rows]
    assert f"| {written[0]['word']} |" in (tmp_path / "audit" / "words.md").read_text()


@pytest.mark.parametrize(
    "given, said",
    [
        ({"least": 1}, "evals.audit.least=1 is not a whole number of at least 2"),
        ({"share": 1.0}, "evals.audit.share=1.0 is not between 0 and 1"),
        ({"words": 3}, "evals.audit needs None, or a dict with some of occurrences, least, share"),
    ],
)
def test_options_that_cannot_work_are_refused(basis, given, said):
    config = basis.config.copy_and_resolve_references().unlock()
    config.evals.audit = given
    with pytest.raises(UserError, match=said):
        audit.AUDIT.check(config)
