"""A run that lives in a bucket is the run that it would be on a disk."""

import json
import socket
import time

import jax
import numpy as np
import pytest
import toy_runs
from finished import make_run
from PIL import Image

from jaxvl import api, checkpoint, files, paths
from jaxvl.cli import evaluate, explain, export
from jaxvl.errors import UserError
from jaxvl.training import experiment, loop

pytestmark = pytest.mark.slow

TIMES = ("steps_per_sec", "images_per_sec", "data_wait", "compile_wait", "slow_steps")


def names(place):
    return [str(path).removeprefix(f"{place}/") for path in paths.files_below(paths.of(place))]


def lines(path):
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in found]


def put_benchmark(annotations, images, folder):
    Image.new("RGB", (8, 8)).save(folder / "1.png")
    paths.put(paths.of(f"{images}/1.png"), (folder / "1.png").read_bytes())
    row = {"filename": "1.png", "caption": "a dog", "negative_caption": "a cat"}
    files.write_json(f"{annotations}/swap_obj.json", {"0": row, "1": row})
    return [f"--annotations={annotations}", f"--images={images}"]


def test_killed_and_continued_it_ends_as_on_a_disk(gs, toy_config, tmp_path):
    toy_config.total_steps, toy_config.checkpoint.every_steps = 16, 4
    toy_config.log.tensorboard = True
    place, folder = f"{gs}/run", tmp_path / "run"
    config_file = toy_runs.write_config(toy_config, tmp_path / "config.py")
    run = toy_runs.start(config_file, place)
    while not checkpoint.checkpoint_steps(place):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    run.kill()
    run.communicate()
    assert ".lock" in names(place) and any("metrics.jsonl.parts" in name for name in names(place))

    assert loop.train(toy_config, place) == 0
    assert loop.train(toy_config, folder) == 0
    (step, own), (same, local) = (
        toy_runs.parameters(where, toy_config) for where in (place, folder)
    )
    assert step == same == 16
    jax.tree.map(np.testing.assert_array_equal, own, local)
    assert lines(paths.of(place) / "metrics.jsonl") == lines(folder / "metrics.jsonl")
    assert checkpoint.checkpoint_steps(place) == checkpoint.checkpoint_steps(folder)
    assert not [name for name in names(place) if ".lock" in name or ".parts" in name]
    assert sum("tensorboard/" in name for name in names(place)) >= 1


def test_half_a_checkpoint_counts_as_none_and_a_damaged_one_is_set_aside(gs, toy_config, capsys):
    place = paths.of(f"{gs}/damaged")
    toy_config.total_steps, toy_config.checkpoint.every_steps = 2, 1
    assert loop.train(toy_config, place) == 0
    paths.put(place / "checkpoints" / "2" / "params" / "_METADATA", b"{}")
    assert loop.train(toy_config, place) == 0
    said = capsys.readouterr().err
    assert "checkpoints/2 is damaged: params is not what was saved" in said
    assert f"gcloud storage rm -r {place}/damaged_checkpoints/2" in said
    assert checkpoint.checkpoint_steps(place) == [1, 2]

    (place / "checkpoints" / "2" / checkpoint.DIGESTS).unlink()
    assert checkpoint.checkpoint_steps(place) == [1]
    assert loop.train(toy_config, place) == 0
    assert checkpoint.checkpoint_steps(place) == [1, 2]


@pytest.fixture
def finished_run(gs, tiny_config, scenes_directory, cache, tmp_path_factory):
    """A finished run that was copied to the bucket, and its data set."""
    paths.filesystem(gs).put(f"{scenes_directory}/", f"{gs}/scenes/", recursive=True)
    tiny_config.data.dir, tiny_config.log.panel_images = f"{gs}/scenes", 1
    with tiny_config.unlocked():
        for name in ("hard_negatives", "occlusion"):
            tiny_config.evals[name] = None
    config = experiment.open_basis(tiny_config).config
    folder = make_run(tmp_path_factory, config, name="run_for_a_bucket")
    paths.filesystem(gs).put(f"{folder}/", f"{gs}/finished/", recursive=True)
    return f"{gs}/finished"


def test_it_is_evaluated_explained_and_exported_from_there(gs, finished_run, tmp_path, capsys):
    crepe = put_benchmark(f"{gs}/crepe", f"{gs}/images", tmp_path)
    evaluate.main([f"--workdir={finished_run}"])
    assert "panels/step_0000003.png" in names(finished_run)
    scores = files.read_json(f"{finished_run}/results.json")
    assert scores["data"] == f"{gs}/scenes" and scores["retrieval/mean_recall"] >= 0
    evaluate.main([f"--workdir={finished_run}", "--benchmark=sugarcrepe", *crepe])
    assert files.read_json(f"{finished_run}/results_sugarcrepe.json")["sugarcrepe/rows"] == 2

    shown = [f"--image={tmp_path / '1.png'}", "--text=a red square", f"--out={tmp_path / 'o.png'}"]
    explain.main([f"--workdir={finished_run}", *shown])
    assert Image.open(tmp_path / "o.png").size[0] > 100
    export.main([f"--workdir={finished_run}", "--format=torch", f"--out={tmp_path / 'out'}"])
    assert (tmp_path / "out" / "model.safetensors").is_file()

    with pytest.raises(SystemExit):
        export.main([f"--workdir={finished_run}", "--format=torch", f"--out={gs}/out"])
    assert f"--out={gs}/out: gs:// is not supported here" in capsys.readouterr().err


def test_it_is_where_another_run_starts_from(finished_run, tiny_config):
    tiny_config.model.init = finished_run
    basis = experiment.open_basis(tiny_config)
    started = experiment.load_init(basis, directory=None)
    own, step = checkpoint.restore_params(finished_run, model=basis.model, mesh=basis.mesh)
    assert step == 3
    jax.tree.map(np.testing.assert_array_equal, started, own)


def test_two_processes_write_one_run(gs, toy_config, tmp_path):
    toy_config.batch_size = toy_config.eval.batch_size = 16
    config_file = toy_runs.write_config(toy_config, tmp_path / "config.py")
    place = f"{gs}/two"
    with socket.socket() as held:  # so that no other test is given this port meanwhile
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        others = [f"--coordinator=127.0.0.1:{held.getsockname()[1]}", "--num_processes=2"]
        both = [toy_runs.start(config_file, place, *others, f"--process_id={i}") for i in range(2)]
        said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [line["step"] for line in lines(paths.of(place) / "metrics.jsonl")] == [1, 2, 3, 4]
    assert checkpoint.checkpoint_steps(place) == [2, 4]
    assert toy_runs.parameters(place, toy_config)[0] == 4


def test_a_run_does_not_live_on_s3(s3, toy_config):
    with pytest.raises(UserError, match=r"s3:// is not supported here; .* or on gs://"):
        api.train(toy_config, f"{s3}/run")
    assert not paths.of(f"{s3}/run").exists()
