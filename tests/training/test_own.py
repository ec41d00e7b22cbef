"""A run owns itself: its tokenizer is with it, its data is known by what it is, and it is alone.

Its checkpoints and scores are the same whatever ended it in between.
"""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from toy_runs import TOY, lines, only_error, parameters, start, write_config

from jaxvl import files, workdir
from jaxvl.data import scenes, store
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError
from jaxvl.training import experiment, finished, loop
from jaxvl.validate import validate

pytestmark = pytest.mark.slow


def another_data_set(directory, seed):
    """Scenes as in conftest.py, of another seed: other pictures, captions and words."""
    counts = {"train": 40, "val": 12}
    splits = {
        name: scenes.generate(split=name, count=count, size=32, seed=seed, workers=1)
        for name, count in counts.items()
    }
    store.write(
        directory, kind="scenes", splits=splits, counts=counts, meta={}, vocabulary_size=150
    )
    return directory


@pytest.fixture
def own_data(toy_config, tmp_path):
    """The data set of toy_config at a place of its own, which a test may change."""
    directory = tmp_path / "data"
    shutil.copytree(toy_config.data.dir, directory)
    toy_config.data.dir = str(directory)
    return directory


@pytest.fixture
def scored(monkeypatch):
    """Evaluations give the scores in this list, one after the other; an exception is raised."""
    from jaxvl import evals

    scores = []

    def run_all(evaluators, params, *, progress, report):
        score = scores.pop(0)
        if isinstance(score, BaseException):
            raise score
        return {"retrieval/mean_recall": score}

    monkeypatch.setattr(evals, "make_evaluators", lambda config, **_: {})
    monkeypatch.setattr(evals, "run_all", run_all)
    return scores


def test_moved_data_continues_and_other_data_is_refused(toy_config, own_data, tmp_path):
    run = tmp_path / "run"
    assert loop.train(toy_config, run) == 0
    moved = own_data.rename(tmp_path / "moved")
    toy_config.data.dir = str(moved)
    toy_config.total_steps = 5
    assert loop.train(toy_config, run) == 0
    assert lines(run)[-1]["step"] == 5

    toy_config.data.dir = str(another_data_set(tmp_path / "other", seed=1))
    toy_config.total_steps = 6
    before = (run / "config.json").read_text()
    with pytest.raises(UserError, match="other:train is other data than .*run was started with"):
        loop.train(toy_config, run)
    assert (run / "config.json").read_text() == before


def test_texts_are_read_with_the_words_of_the_training(toy_config, own_data, tmp_path, scored):
    run = tmp_path / "run"
    assert loop.train(toy_config, run) == 0
    words = tokenizer.load(own_data).to_str()
    shutil.rmtree(own_data)
    assert experiment.open_basis(experiment.load_run(run)).tokenizer.to_str() == words
    with pytest.raises(UserError, match=r"data: no prepared data set here"):
        finished.evaluate(run, experiment.load_run(run))

    another_data_set(own_data, seed=1)  # in its place
    with pytest.raises(UserError, match="data is not the data set that .*run was trained on.*--da"):
        finished.evaluate(run, experiment.load_run(run))
    scored.append(0.5)
    assert finished.evaluate(run, experiment.load_run(run), other_data=True)
    assert experiment.open_basis(experiment.load_run(run)).tokenizer.to_str() == words


def test_another_tokenizer_is_refused_and_the_same_at_another_place_is_not(
    toy_config, own_data, tmp_path
):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere.json"
    assert loop.train(toy_config, run) == 0
    shutil.copy(own_data / "tokenizer.json", elsewhere)
    toy_config.data.tokenizer = str(elsewhere)
    assert loop.train(toy_config, run) == 0
    files.write_text(elsewhere, tokenizer.train(["another one"], vocabulary_size=60).to_str())
    with pytest.raises(UserError, match="elsewhere.json' is another tokenizer than"):
        loop.train(toy_config, run)


def test_what_a_run_was_made_of_is_written_down(toy_config, tmp_path):
    for toy_config.total_steps in (1, 2):
        assert loop.train(toy_config, tmp_path) == 0
    run = json.loads((tmp_path / "run.json").read_text())
    (data,) = run["data"]["train"]
    assert data["fingerprint"].endswith(":train") and data["examples"] == 40
    assert [one["step"] for one in run["starts"]] == [0, 1]
    last = run["starts"][-1]
    assert last["libraries"]["jax"] == jax.__version__
    assert last["command"] == shlex.join(sys.orig_argv)
    assert "8 x cpu" in last["hardware"]["devices"]
    if os.path.isdir(TOY.parents[1] / ".git"):
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=TOY.parent, capture_output=True)
        assert last["code"]["commit"] == head.stdout.decode().strip()
    assert json.loads((tmp_path / "preprocessing.json").read_text())["size"] == 32


def test_a_second_run_in_the_same_working_directory_is_refused(toy_config, tmp_path):
    config_file = write_config(toy_config, tmp_path / "experiment.py")
    run = tmp_path / "run"
    with workdir.claimed(run):
        process = start(config_file, run)
        _, errors = process.communicate()
        assert process.returncode == 2
        line = only_error(errors)
        assert "another training run is writing there" in line
        assert f"process {os.getpid()} on" in line
    assert not (run / "config.json").exists()
    assert loop.train(toy_config, run) == 0  # who held it has let go


DAMAGES = {
    "missing": (lambda path: path.unlink(), "has checkpoints but no config.json"),
    "empty": (lambda path: path.write_text(""), "config.json: damaged, this is not JSON"),
    "cut": (lambda path: path.write_text(path.read_text()[:300]), "damaged, this is not JSON"),
    "a list": (lambda path: path.write_text("[]"), "this is not a JSON object"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe{"), "this is not JSON"),
    "a group is a number": (
        lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"data": 5})),
        "config.json is damaged",
    ),
    "evals is a list": (
        lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"evals": [1]})),
        "config.json is damaged",
    ),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "config.json: cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_configuration_is_one_line(toy_config, tmp_path, damage):
    break_it, message = DAMAGES[damage]
    workdir.begin(toy_config, tmp_path)
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    break_it(tmp_path / "config.json")
    with pytest.raises(UserError, match=message):
        workdir.check_continues(toy_config, tmp_path)
    with pytest.raises(UserError, match="config.json"):
        experiment.load_run(tmp_path)


def test_damaged_words_are_refused_and_damaged_lines_are_dropped(toy_config, tmp_path):
    assert loop.train(toy_config, tmp_path) == 0
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\x00")
    toy_config.total_steps = 5
    assert loop.train(toy_config, tmp_path) == 0
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]

    own = tmp_path / "tokenizer.json"
    words = own.read_text()
    for damaged in (words.replace('"red"', '"rec"'), words[:100], ""):
        own.write_text(damaged)
        with pytest.raises(UserError, match="tokenizer.json is missing or damaged"):
            experiment.load_run(tmp_path)
    own.unlink()
    with pytest.raises(UserError, match="tokenizer.json is missing or damaged"):
        loop.train(toy_config, tmp_path)


def test_a_damaged_newest_checkpoint_is_moved_away_and_the_run_is_the_same(
    toy_config, tmp_path, capsys
):
    run, straight = tmp_path / "run", tmp_path / "straight"
    toy_config.total_steps = 6
    assert loop.train(toy_config, straight) == 0
    assert loop.train(toy_config, run) == 0
    (run / "checkpoints" / "6" / "digests.json").write_text("{}")
    capsys.readouterr()
    assert loop.train(toy_config, run) == 0
    output, errors = capsys.readouterr()
    assert "continuing from step 4" in output
    place = run.resolve() / "damaged_checkpoints" / "6"
    assert f"it now lies in {place}; delete it: rm -r {place}" in errors
    for one, other in zip(parameters(run, toy_config), parameters(straight, toy_config)):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def without_goodput(path):
    """A share of the time, which no two runs have alike."""
    return {
        name: value for name, value in json.loads(path.read_text()).items() if name != "goodput"
    }


def test_an_evaluation_that_fails_loses_no_step_and_is_made_up_for(
    toy_config, tmp_path, scored, capsys
):
    """The best checkpoint, the scores and the results are those of a run that nothing ended."""
    toy_config.total_steps, toy_config.eval.every_steps, toy_config.checkpoint.keep = 8, 2, 1
    run, straight = tmp_path / "run", tmp_path / "straight"
    scored[:] = [0.1, 0.9, 0.3, 0.2]
    assert loop.train(toy_config, straight) == 0

    scored[:] = [0.1, RuntimeError("the evaluation fails")]
    with pytest.raises(RuntimeError):
        loop.train(toy_config, run)
    assert parameters(run, toy_config)[0] == 4  # saved before it was evaluated
    scored[:] = [0.9, 0.3, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        loop.train(toy_config, run)
    scored[:] = [0.2]
    assert loop.train(toy_config, run) == 0
    for file in ("results.json", "checkpoints/4/metrics/metrics", "checkpoints/8/metrics/metrics"):
        assert without_goodput(run / file) == without_goodput(straight / file)
    kept = [sorted(p.name for p in (each / "checkpoints").iterdir()) for each in (run, straight)]
    assert kept == [["4", "8"], ["4", "8"]]
    scores = [
        [
            (line["step"], line["retrieval/mean_recall"])
            for line in lines(each)
            if "loss" not in line
        ]
        for each in (run, straight)
    ]
    assert scores[0] == scores[1] == [(2, 0.1), (4, 0.9), (6, 0.3), (8, 0.2)]


def test_parameters_that_are_not_finite_are_never_saved(toy_config, tmp_path, monkeypatch):
    """The loss and the gradient of the step are finite; its update is not."""
    import optax

    from jaxvl.training import optim

    def make_optimizer(keys, *, total_steps):
        def update(updates, state, params=None):
            wrong = jax.tree.map(lambda u: jax.numpy.where(state == 2, jax.numpy.nan, u), updates)
            return wrong, state + 1

        return optax.GradientTransformation(lambda params: jax.numpy.zeros((), int), update)

    monkeypatch.setattr(optim, "make_optimizer", make_optimizer)
    toy_config.checkpoint.every_steps = 1
    assert loop.train(toy_config, tmp_path) == 1
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]


PLACES = {
    "a checkpoint": "jaxvl.checkpoint.ocp.AsyncCheckpointer.save",
    "a log line": "jaxvl.training.writer.Writer.write",
    "the scores": "jaxvl.evals.run_all",
    "a drawing": "jaxvl.training.evaluation.Evaluation.draw_panel",
}


@pytest.mark.parametrize("what, error", zip(PLACES, [errno.ENOSPC, errno.EROFS] * 2))
def test_a_disk_that_cannot_be_written_is_one_line_and_older_steps_stay(
    toy_config, tmp_path, monkeypatch, scored, what, error
):
    assert loop.train(toy_config, tmp_path) == 0

    def fail(*_, **__):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(PLACES[what], fail)
    toy_config.total_steps, toy_config.eval.every_steps = 6, 6
    scored.append(0.5)
    reason = {errno.ENOSPC: "the disk is full", errno.EROFS: "Read-only file system"}
    with pytest.raises(UserError, match=f"{reason[error]}.*step [46].*, and give the same command"):
        loop.train(toy_config, tmp_path)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} >= {"4"}
    assert parameters(tmp_path, toy_config)[0] in (4, 6)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_real_disk_that_fills_up_while_a_checkpoint_is_written(toy_config, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small])
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        toy_config.total_steps, toy_config.checkpoint.keep = 100_000, 100_000
        process = start(write_config(toy_config, tmp_path / "experiment.py"), small / "run")
        _, errors = process.communicate()
        assert process.returncode == 2
        line = only_error(errors)
        assert "the disk is full; step " in line and "is saved; make room" in line
        names = {p.name for p in (small / "run" / "checkpoints").iterdir() if p.name.isdigit()}
        shutil.copytree(small / "run", tmp_path / "run")
        assert str(parameters(tmp_path / "run", toy_config)[0]) in names
    finally:
        subprocess.run(["umount", small], check=True)


def write_scenes(directory, count, **changes):
    """Writes a data set of so many images with these fields instead of their own."""
    records = scenes.generate(split="train", count=count, size=32, seed=0, workers=1)
    splits = {"train": [{**record, **changes} for record in records]}
    counts = {"train": count}
    store.write(
        directory, kind="scenes", splits=splits, counts=counts, meta={}, vocabulary_size=100
    )
    return directory


def test_a_loss_that_cannot_change_is_refused(toy_config, tmp_path):
    one = write_scenes(tmp_path / "one", 1)
    nothing = {"boxes": (), "mentions": (), "negatives": (), "negative_kinds": ()}
    alike = write_scenes(
        tmp_path / "alike", 4, captions=["A cup.", "a cup"], negative_captions=(), **nothing
    )
    toy_config.data.dir = str(alike)
    with pytest.raises(UserError, match="alike:train: the captions of all examples read alike"):
        loop.train(toy_config, tmp_path / "run_of_alike")
    toy_config.data.dir = str(one)
    with pytest.raises(UserError, match="one:train holds one image"):
        loop.train(toy_config, tmp_path / "run")
    toy_config.batch_size = 1
    with pytest.raises(UserError, match="batch_size=1 is not at least 2"):
        validate(toy_config, devices=1, processes=1)
    assert not (tmp_path / "run").exists()
