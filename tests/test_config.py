"""A configuration that cannot work is an error of one line; every experiment builds."""

import importlib.util
import json
from pathlib import Path

import jax
import pytest

from jaxvl import config as config_lib
from jaxvl import workdir
from jaxvl.configs import coco_ahnpl
from jaxvl.errors import UserError
from jaxvl.training import experiment
from jaxvl.validate import validate

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("batch_size", 12, "batch_size=12 is not divisible by the 8 devices of the mesh"),
        ("mesh.fsdp", 3, "mesh.data=-1 x mesh.fsdp=3 does not cover the 8 devices"),
        ("eval.batch_size", 9, "eval.batch_size=9 is not divisible by the 8 devices"),
        ("momentum.queue_size", 20, "momentum.queue_size=20 is not divisible by batch_size=8"),
        ("data.image_size", 40, "data.image_size=40 is not divisible by model.image.patch_size=16"),
        ("model.text.heads", 3, "model.text.width=16 is not divisible by model.text.heads=3"),
        ("data.max_tokens", 99, "data.max_tokens=99 exceeds model.text.positions=16"),
        ("method", "clap", "method='clap' is not one of"),
        ("data.dir", "", "data.dir is empty"),
        ("model.text.vocabulary_size", 7, "model.text.vocabulary_size=7 is less than"),
    ],
)
def test_a_value_that_cannot_work_is_named(tiny_config, key, value, message, monkeypatch):
    monkeypatch.setattr(jax, "jit", None)  # nothing is compiled
    tiny_config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        experiment.open_basis(tiny_config)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("data.add_sep", False, "data.add_sep=False, but model.name='clip' reads"),
        ("data.token_lengths", (8, 4), r"data.token_lengths=\(8, 4\) is not ascending"),
        ("data.token_lengths", (0, 4), "data.token_lengths"),
        ("data.eval_crop", "middle", "data.eval_crop='middle' is not one of none, center"),
        ("model.activation", "relu", "model.activation='relu' is not one of gelu, quick_gelu"),
        ("model.name", "albef", "method='clip' trains model.name='clip', not 'albef'"),
        ("method", "softmask", "method='softmask' trains model.name='albef', not 'clip'"),
        ("ahnpl.positive", "other", "ahnpl.positive='other' is not one of cross, intra"),
    ],
)
def test_a_value_that_cannot_work_with_clip_is_named(tiny_config, key, value, message):
    tiny_config.method = tiny_config.model.name = "clip"
    tiny_config.data.add_sep = True
    # Keys of other models and methods are not checked.
    tiny_config.momentum.queue_size, tiny_config.softmask.layer = 20, 99
    validate(tiny_config, devices=8, processes=1)
    tiny_config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        validate(tiny_config, devices=8, processes=1)


def test_a_loss_that_needs_a_second_view_demands_it(tiny_config):
    tiny_config.method, tiny_config.model.name, tiny_config.data.add_sep = "ahnpl", "clip", True
    tiny_config.data.negatives, tiny_config.ahnpl.positive = "own", "intra"
    with pytest.raises(UserError, match="ahnpl.positive='intra' needs .* data.second_view=True"):
        validate(tiny_config, devices=8, processes=1)
    tiny_config.data.second_view = True
    validate(tiny_config, devices=8, processes=1)


def test_only_clip_allows_token_lengths(tiny_config):
    tiny_config.data.token_lengths = (8,)
    with pytest.raises(UserError, match="data.token_lengths is for model.name='clip' alone"):
        validate(tiny_config, devices=8, processes=1)


def test_unknown_and_missing_keys_are_named(tiny_config):
    tiny_config.loss.new_weight = 1.0
    with pytest.raises(UserError, match="unknown key loss.new_weight"):
        workdir.check_keys(tiny_config)
    del tiny_config.loss["new_weight"], tiny_config.loss["itm_weight"]
    with pytest.raises(UserError, match="the key loss.itm_weight is missing"):
        workdir.check_keys(tiny_config)


def test_an_evaluator_that_is_switched_off_is_not_an_unknown_key(tiny_config):
    tiny_config.evals.retrieval = None
    workdir.check_keys(tiny_config)


@pytest.mark.parametrize("keys", [dict(annotations="a"), dict(annotations="", images="i"), "a", 1])
def test_a_benchmark_needs_its_annotations_and_its_images(tiny_config, keys):
    tiny_config.evals.valse = dict(annotations="a", images="i")
    validate(tiny_config, devices=1, processes=1)
    tiny_config.evals.valse = None
    tiny_config.evals.valse = keys
    with pytest.raises(UserError, match="evals.valse needs dict"):
        validate(tiny_config, devices=1, processes=1)


def test_the_stored_configuration_is_read_back_unchanged(tiny_config, tmp_path):
    tiny_config.evals.grounding = None
    tiny_config.evals.bla = dict(annotations="a", images="i")  # None in base()
    workdir.begin(tiny_config, tmp_path)
    assert workdir.load_config(tmp_path).to_dict() == tiny_config.to_dict()


@pytest.mark.parametrize("batch_size, blocks", [(8, 1), (256, 4)])
def test_a_run_records_the_blocks_in_which_it_draws(tiny_config, tmp_path, batch_size, blocks):
    tiny_config.batch_size = tiny_config.momentum.queue_size = batch_size
    config = experiment.open_basis(tiny_config).config
    assert config.loss.itm_negative_blocks == blocks
    older = config.copy_and_resolve_references().unlock()
    older.loss.itm_negative_blocks = 1  # the default was the whole batch
    workdir.begin(older, tmp_path)
    if blocks == 1:
        workdir.check_same(config, tmp_path)
    else:
        with pytest.raises(UserError, match="itm_negative_blocks=4, but .* was started with 1"):
            workdir.check_same(config, tmp_path)


def test_a_run_that_is_older_than_a_key_has_the_default_of_the_key(tiny_config, tmp_path):
    workdir.begin(tiny_config, tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["loss"]["itm_hardness"], stored["evals"]["occlusion"]
    del stored["evals"]["retrieval"]["rerank"], stored["loss"]["same_caption"]
    del stored["loss"]["itm_negative_blocks"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    base, config = config_lib.base(), workdir.load_config(tmp_path)
    assert config.loss.itm_hardness == base.loss.itm_hardness
    assert config.loss.same_caption == "negative"  # as before the key, other than its default
    assert config.loss.itm_negative_blocks == 1  # the same
    assert config.evals.occlusion is None
    assert config.evals.retrieval.rerank == base.evals.retrieval.rerank
    workdir.begin(config, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["data"]["crop_scale"] == [0.2, 1.0]


def test_a_run_on_a_mixture_continues(tiny_config, tmp_path):
    tiny_config.data.mixture = (("one", 1.0), ("other", 2.0))  # JSON stores them as lists
    workdir.begin(tiny_config, tmp_path)
    workdir.begin(tiny_config, tmp_path)
    tiny_config.data.mixture = (("one", 1.0), ("other", 3.0))
    with pytest.raises(UserError, match="data.mixture"):
        workdir.begin(tiny_config, tmp_path)


def test_a_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a run's working directory"):
        workdir.load_config(tmp_path)


def variants():
    """Returns (file, argument) of every experiment; a file lists its arguments in ARGUMENTS."""
    return [
        pytest.param(path, argument, id=f"{path.stem}:{argument}")
        for path in CONFIGS
        for argument in ("", *getattr(load(path), "ARGUMENTS", ()))
    ]


def test_an_epoch_of_the_published_recipes_on_coco_has_every_caption():
    for argument, batch_size, epoch, epochs in (("", 128, 3_235, 10), ("ceclip", 256, 1_617, 5)):
        config = coco_ahnpl.get_config(argument)
        assert (config.batch_size, config.eval.every_steps) == (batch_size, epoch)
        assert config.total_steps == epochs * epoch


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path, argument", variants())
def test_every_experiment_builds_and_the_partition_rules_cover_its_state(path, argument):
    from jaxvl import sharding, state
    from jaxvl.methods import METHODS
    from jaxvl.models import MODELS
    from jaxvl.training import optim

    get_config = load(path).get_config
    config = get_config(argument) if argument else get_config()
    workdir.check_keys(config)
    validate(config, devices=jax.device_count(), processes=1)
    config = config_lib.resolve(config, vocabulary_size=30_522, mask_token=103)
    model = MODELS[config.model.name].make(config)
    method = METHODS[config.method].make(config, model, steps_per_epoch=100)
    optimizer = optim.make_optimizer(config.optim, total_steps=config.total_steps)
    begin = state.make_begin(config, method=method, optimizer=optimizer)
    mesh = sharding.make_mesh(config.mesh)
    abstract = state.abstract_state(begin, model=model, method=method, mesh=mesh)
    assert len(jax.tree.leaves(abstract.params)) > 10
