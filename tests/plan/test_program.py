"""The program that is planned is the program that is run."""

import re
from pathlib import Path

import jax
import pytest
from small_step import mesh_of

from jaxvl import config as config_lib
from jaxvl import sharding
from jaxvl.errors import UserError
from jaxvl.plan import planned, program
from jaxvl.training import experiment

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_planned_step_is_the_one_that_training_compiles(toy_config):
    """To the last letter of what the compiler is given."""
    made = program.make(toy_config, jax.devices(), processes=1)
    basis = experiment.open_basis(toy_config)
    training = experiment.make_training(basis, experiment.open_batches(basis))
    batch = sharding.to_global(training.batches.batch(0), basis.mesh)
    lowered = made.train_step.lower(made.abstract, made.batch)
    assert lowered.as_text() == training.train_step.lower(training.abstract, batch).as_text()


@pytest.mark.slow
def test_the_step_does_not_ask_how_many_devices_there_are(tiny_config, monkeypatch):
    """Planned for one, planned for eight and run on eight, SoftMask's is the same."""
    basis = experiment.open_basis(tiny_config)
    run = experiment.make_training(basis, experiment.open_batches(basis))
    batch = sharding.to_global(run.batches.batch(0), basis.mesh)
    # The one number that a plan does not know, and that nothing which is planned depends on.
    monkeypatch.setattr(program, "STEPS_PER_EPOCH", run.batches.steps_per_epoch)
    made = [program.make(tiny_config, jax.devices()[:count], processes=1) for count in (1, 8)]
    traced = [step.train_step.trace(step.abstract, step.batch) for step in made]
    traced.append(run.train_step.trace(run.abstract, batch))
    one, *others = (str(step.jaxpr) for step in traced)
    mesh = r"'data': \d+, 'fsdp': \d+"  # shardings name it
    assert re.search(mesh, one)
    assert all(re.sub(mesh, "", other) == re.sub(mesh, "", one) for other in others)


def test_arguments_by_their_shapes_are_those_of_the_compiler(toy_config):
    """But for arrays that the step does not read, which the compiler leaves out."""
    made = program.make(toy_config, jax.devices(), processes=1)
    counted = planned.bytes_on_a_chip((made.abstract, made.batch))
    lowered = made.train_step.lower(made.abstract, made.batch)
    unread = ("token_mask", "word_ids", "image_id", "caption_id")
    left_out = planned.bytes_on_a_chip([made.batch[name] for name in unread])
    compiled = lowered.compile().memory_analysis()
    assert compiled.argument_size_in_bytes == counted - left_out


def test_without_a_data_set_the_vocabulary_is_the_published_one(tiny_config, tmp_path):
    there = tiny_config.data.dir
    tiny_config.data.dir = str(tmp_path / "none")
    config, words = program.with_vocabulary(tiny_config)
    assert config.model.text.vocabulary_size == 30_522
    assert words == f"30,522 words: BERT, because there is no tokenizer at {tmp_path / 'none'}"
    tiny_config.model.text.vocabulary_size = 50_000
    config, words = program.with_vocabulary(tiny_config)
    assert words == "50,000 words: model.text.vocabulary_size"
    tiny_config.model.text.vocabulary_size, tiny_config.data.dir = 0, there
    config, words = program.with_vocabulary(tiny_config)
    assert words == f"{config.model.text.vocabulary_size:,} words: {there}"
    assert config.model.text.vocabulary_size <= 200


def test_a_key_that_cannot_work_on_so_many_chips_is_named(toy_config):
    toy_config.batch_size = 12
    with pytest.raises(UserError, match="batch_size=12 is not divisible by the 8 devices"):
        program.make(toy_config, jax.devices(), processes=1)


@pytest.mark.parametrize("name", ["coco_softmask", "coco_ahnpl"])
def test_where_each_array_of_a_shipped_experiment_lies_is_the_golden_plan(name):
    """At data 2 x fsdp 4; to accept a change, put it in the file."""
    from jaxvl.cli.train import read_config

    config = read_config(name, []).copy_and_resolve_references().unlock()
    config.mesh.update(data=2, fsdp=4)
    made = program.make(config, mesh_of(2, 4).devices.flat, processes=1)
    lines = [
        f"{sharding.path_name(path)} {leaf.shape} {tuple(leaf.sharding.spec)}\n"
        for path, leaf in jax.tree_util.tree_leaves_with_path((made.abstract, made.batch))
    ]
    lines.append(f"bytes a chip {planned.bytes_on_a_chip((made.abstract, made.batch)):,}\n")
    assert "".join(lines) == (GOLDEN / f"sharding_{name}_2x4.txt").read_text()


def test_every_key_of_the_published_vocabularies_is_a_model():
    assert set(program.PUBLISHED) <= set(config_lib.packages()["model.name"])
