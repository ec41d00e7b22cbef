"""A component of each kind from outside the package: one dict entry, and the program uses it.

docs/extend.md tells the same story. Letters: R rows, M keys, E embedding.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from PIL import Image

import jaxvl.losses
from jaxvl import config as config_lib
from jaxvl import evals
from jaxvl.data import sources
from jaxvl.errors import UserError, require
from jaxvl.evals import EVALUATORS
from jaxvl.evals.compositional.benchmark import Benchmark, component
from jaxvl.keys import Key
from jaxvl.losses.contrastive import belong
from jaxvl.methods import METHODS
from jaxvl.models import MODELS
from jaxvl.training import experiment, loop
from jaxvl.types import Component, ContrastiveLoss, Evaluator, EvaluatorComponent
from jaxvl.validate import validate
from jaxvl.workdir import check_keys

pytestmark = pytest.mark.slow


def squared_rows(z_RxE, ids_Rx2, keys, scale, *, learned, **options):
    """A contrastive loss nobody would use: squared distance of similarity and truth."""
    same_RxM = belong(ids_Rx2, keys.ids_Mx2).astype(jnp.float32)
    error_RxM = (z_RxE @ keys.z_MxE.T - learned["target"] * same_RxM) ** 2
    return jnp.where(keys.exists_M[None], error_RxM, 0.0).mean(-1)


SQUARED = ContrastiveLoss(
    squared_rows,
    learned=lambda config: {"target": jnp.asarray(config.loss.squared_target)},
    keys={"loss": {"squared_target": Key(0.5, "similarity that a true pair should have", 0, 1)}},
)


def open_backwards(data, *, directory, split):
    """A data source: a prepared data set, read from its end."""
    source = sources.open_prepared(directory, split=split)
    last = source.num_examples - 1
    if not data.backwards:
        return source
    return source._replace(read=lambda indices: source.read(last - np.asarray(indices)))


BACKWARDS = Component(
    open_backwards,
    keys={"data": {"backwards": Key(True, "read the data set from its end")}},
    check=lambda config: require(config.data.dir, "data.dir is empty"),
)


def make_counter(config, *, scorer, examples):
    """An evaluator: how many held-out images there are, times a factor."""
    count = config.evals.counter.factor * len(examples.records)
    return Evaluator(lambda params, progress=False: {"images": float(count)})


COUNTER = EvaluatorComponent(
    make_counter,
    keys={"evals": {"counter": {"factor": Key(2, "that the count is multiplied by", 1)}}},
)


ODD_ONE_OUT = component(
    Benchmark(
        name="odd_one_out",
        files={"all": "odd.json"},
        images=("photo",),
        true=("right",),
        false=("wrong", "worse"),
        chance={"": 1 / 3},
    )
)


@pytest.fixture
def mine(monkeypatch):
    """The components above, each made known by its one line."""
    monkeypatch.setitem(jaxvl.losses.CONTRASTIVE, "squared", SQUARED)
    monkeypatch.setitem(sources.SOURCES, "backwards", BACKWARDS)
    monkeypatch.setitem(EVALUATORS, "counter", COUNTER)
    monkeypatch.setitem(EVALUATORS, "odd_one_out", ODD_ONE_OUT)
    monkeypatch.setitem(MODELS, "mine", Component(toy.make_model))
    keys = {"mine": {"noise": Key(0.1, "added to the text embeddings", low=0)}}
    monkeypatch.setitem(METHODS, "mine", Component(toy.make_method, keys))


def of_mine(config):
    """Returns the configuration with the keys of the components that are known by now."""
    whole = config_lib.base()
    whole.update(config)
    return whole


def test_a_method_a_model_a_source_and_an_evaluator_train_and_evaluate(mine, tiny_config, tmp_path):
    config = of_mine(tiny_config)
    config.method = config.model.name = "mine"
    config.mine.noise, config.data.source = 0.3, "backwards"
    config.total_steps, config.eval.every_steps = 2, 2
    for name in config.evals:
        config.evals[name] = None
    config.evals.counter = {"factor": 3}
    assert loop.train(config, tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["step"] == 2 and results["counter/images"] == 3 * 12
    assert json.loads((tmp_path / "config.json").read_text())["mine"] == {"noise": 0.3}


def test_a_contrastive_loss_with_a_parameter_of_its_own_trains(mine, tiny_config, tmp_path):
    config = of_mine(tiny_config)
    config.method = config.model.name = "clip"
    config.data.add_sep, config.loss.contrastive = True, "squared"
    config.total_steps = 2
    assert loop.train(config, tmp_path) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(0 < line["loss/itc"] < 1 for line in lines)


def test_a_benchmark_is_a_table_of_its_files(mine, tiny_config, tmp_path):
    row = {"photo": "0.png", "right": "a red ring", "wrong": "a blue ring", "worse": "a ring"}
    (tmp_path / "odd.json").write_text(json.dumps([row] * 3))
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    config = of_mine(tiny_config)
    for name in config.evals:
        config.evals[name] = None
    config.evals.odd_one_out = {"annotations": str(tmp_path), "images": str(tmp_path)}
    config.total_steps, config.eval.every_steps = 0, 1
    basis = experiment.open_basis(config)
    evaluators = evals.make_evaluators(
        basis.config, model=basis.model, source=None, tokenizer=basis.tokenizer, mesh=basis.mesh
    )
    scores = evals.run_all(evaluators, jax.jit(basis.model.init)(jax.random.key(0)), progress=False)
    assert scores["odd_one_out/rows"] == 3
    assert scores["odd_one_out/chance"] == pytest.approx(1 / 3)
    assert 0 <= scores["odd_one_out/accuracy"] <= 1


def test_the_keys_of_a_component_are_checked_like_all_others(mine, tiny_config):
    config = of_mine(tiny_config)
    config.method = config.model.name = "mine"
    config.mine.noise = -1.0
    with pytest.raises(UserError, match="mine.noise=-1.0 is not at least 0"):
        validate(config, devices=8, processes=1)
    config.data.update(source="backwards", dir="")
    config.mine.noise = 0.1
    with pytest.raises(UserError, match="data.dir is empty"):
        validate(config, devices=8, processes=1)


def test_without_its_line_a_component_is_unknown(tiny_config):
    tiny_config.method = "softmsak"
    with pytest.raises(UserError, match="is not one of .*did you mean softmask"):
        validate(tiny_config, devices=8, processes=1)
    tiny_config.unlock().mine = {"noise": 0.1}
    with pytest.raises(UserError, match="unknown key mine.noise"):
        check_keys(tiny_config)


def test_a_batch_reaches_the_devices_in_the_order_of_the_source(mine, tiny_config):
    config = of_mine(tiny_config)
    config.data.source = "backwards"
    source = sources.open_source(config.data, split="train")
    plain = sources.open_prepared(config.data.dir, split="train")
    (first,), (last,) = source.read([0]), plain.read([plain.num_examples - 1])
    assert first == last
