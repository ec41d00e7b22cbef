"""All evaluators on the real model and the Scenes data set."""

import jax
import pytest
from ml_collections import ConfigDict
from PIL import Image

from jaxvl import evals, sharding
from jaxvl.data import sources
from jaxvl.evals import panel, trained
from jaxvl.models import albef
from jaxvl.training import experiment

pytestmark = pytest.mark.slow


@pytest.fixture
def basis(tiny_config):
    tiny_config.mesh.data = 8
    tiny_config.evals.retrieval.rerank = 5
    return experiment.open_basis(tiny_config)


def source_of(basis, split="val"):
    return sources.open_prepared(basis.config.data.dir, split=split)


def make(basis, *, source=None, mesh=(1, 1), **eval_keys):
    config = basis.config.copy_and_resolve_references()
    config.eval.update(eval_keys)
    devices = jax.devices()[: mesh[0] * mesh[1]]
    mesh = sharding.make_mesh(ConfigDict({"data": mesh[0], "fsdp": mesh[1]}), devices=devices)
    evaluators = evals.make_evaluators(
        config,
        model=basis.model,
        source=source or source_of(basis),
        tokenizer=basis.tokenizer,
        mesh=mesh,
    )
    params = jax.jit(basis.model.init)(jax.random.key(1))
    rules = sharding.shardings(params, albef.PARTITION_RULES, mesh=mesh)
    return evaluators, jax.device_put(params, rules)


def test_neither_batch_size_nor_mesh_changes_a_number(basis):
    expected = evals.run_all(*make(basis, batch_size=5, max_examples=7), progress=False)
    split = make(basis, batch_size=4, max_examples=7, mesh=(2, 2))
    found = evals.run_all(*split, progress=False)
    assert set(expected) == set(found)
    assert {"retrieval/i2t_r1", "hard_negatives/accuracy", "grounding/pointing"} <= set(found)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name


def test_only_the_first_images_are_evaluated_where_a_number_is_given(basis):
    evaluators, params = make(basis, max_examples=2)
    assert evaluators["retrieval"].run(params)["t2i_r5"] == 1.0


def test_an_evaluator_without_annotations_is_left_out_and_says_so(basis, capsys, monkeypatch):
    def photographs(source):
        return [{"captions": ["a cat"], "negatives": [], "mentions": []}] * source.num_examples

    monkeypatch.setattr(sources, "annotations", photographs)
    evaluators, _ = make(basis)
    assert list(evaluators) == ["retrieval"]
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert "hard_negatives" in lines[0] and "no negatives" in lines[0]
    assert "grounding" in lines[1] and "no mentions" in lines[1]


def test_an_evaluator_that_is_none_does_not_run(basis):
    config = basis.config.copy_and_resolve_references().unlock()
    config.evals.grounding = None
    evaluators, _ = make(basis._replace(config=config))
    assert list(evaluators) == ["retrieval", "hard_negatives"]


def test_a_panel_has_a_row_for_each_image_and_is_compiled_once(basis, tmp_path):
    params = jax.jit(basis.model.init)(jax.random.key(1))
    mesh = sharding.make_mesh(ConfigDict({"data": 1, "fsdp": 1}), devices=jax.devices()[:1])

    def draw(images, name):
        config = basis.config.copy_and_resolve_references()
        config.log.panel_images = images
        path = panel.draw_panel(
            config,
            model=basis.model,
            params=params,
            source=source_of(basis),
            tokenizer=basis.tokenizer,
            mesh=mesh,
            path=tmp_path / name,
        )
        return Image.open(path)

    two = draw(2, "two.png")
    compiled = trained._scorer.cache_info().misses
    three, again = draw(3, "three.png"), draw(2, "again.png")
    assert trained._scorer.cache_info().misses == compiled
    assert three.height > two.height
    assert again.tobytes() == two.tobytes()
    assert draw(99, "all.png").height > three.height  # all 12, where there are no more
