"""jaxvl evaluate: a table, JSON beside it, and one line for what is wrong."""

import json

import pytest
from finished import make_run
from PIL import Image

from jaxvl.cli import evaluate
from jaxvl.training import experiment

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path_factory, tiny_config):
    tiny_config.evals.retrieval.rerank = 2
    tiny_config.eval.max_examples = 4
    return make_run(tmp_path_factory, tiny_config, name="evaluated_run")


def test_a_table_and_json_with_the_same_numbers(run, capsys):
    evaluate.main(["--workdir", str(run)])
    printed = capsys.readouterr().out
    written = json.loads((run / "results.json").read_text())
    data = json.loads((run / "config.json").read_text())["data"]["dir"]
    assert [written.pop(name) for name in ("step", "split", "data")] == [3, "val", data]
    assert {"retrieval/t2i_r10", "hard_negatives/accuracy", "grounding/pointing"} <= set(written)
    for name, value in written.items():
        assert name in printed
        if not name.startswith("grounding/words"):
            assert 0 <= value <= 1, name


def test_another_split_and_another_file(run, tmp_path):
    out = tmp_path / "train.json"
    evaluate.main(["--workdir", str(run), "--split", "train", "--out", str(out)])
    assert json.loads(out.read_text())["split"] == "train"
    assert (tmp_path / "false_match_train" / "hard_negatives.md").exists()


@pytest.mark.parametrize(
    "flags, name",
    [
        ([], "results"),
        (["--split", "test"], "results_test"),
        (["--data", "data/other/", "--split", "val"], "results_other_val"),
        (["--benchmark", "bla", "--annotations", "a", "--images", "i"], "results_bla"),
    ],
)
def test_a_result_file_is_named_after_the_flags(flags, name):
    given = evaluate._parser().parse_args(["--workdir", "runs/x", *flags])
    assert str(evaluate.result_file(given)) == f"runs/x/{name}.json"


def test_a_key_of_the_evaluation_is_changed_for_once(run, tmp_path):
    before = (run / "config.json").read_text()
    out = tmp_path / "two.json"
    evaluate.main(["--workdir", str(run), "--config.eval.max_examples=2", "--out", str(out)])
    assert json.loads(out.read_text())["retrieval/r1_chance"] == 0.5  # 1 of 2 images
    assert (run / "config.json").read_text() == before


def test_another_data_set_is_read_with_the_tokenizer_of_the_run(tiny_config):
    mine = tiny_config.data.dir
    experiment.use_data(tiny_config, "elsewhere")
    assert (tiny_config.data.dir, tiny_config.data.tokenizer) == ("elsewhere", mine)
    experiment.use_data(tiny_config, "third")
    assert (tiny_config.data.dir, tiny_config.data.tokenizer) == ("third", mine)


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--split", "nonsense"], "nonsense"),
        (["--data", "no_such_folder"], "no_such_folder"),
        (["--out", "no_such_folder/x.json"], "--out"),
        (["--config.eval.max_exampels=2"], "did you mean eval.max_examples?"),
        (["--config.softmask.layer=1"], "softmask.layer=1, but"),
        (["--splitt", "val"], "did you mean --split?"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(run, capsys, flags, named):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--workdir", str(run), *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert named in error and len(error.strip().splitlines()) == 1
    assert not (run / "results_nonsense.json").exists()


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--workdir", str(tmp_path)])
    assert stop.value.code == 2
    assert str(tmp_path) in capsys.readouterr().err


def refused(capsys, call):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(call)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_benchmark_beside_retrieval_and_the_change_against_a_step(run, tmp_path, capsys):
    images, files = tmp_path / "images", tmp_path / "files"
    images.mkdir(), files.mkdir()
    Image.new("RGB", (40, 30), "red").save(images / "a.jpg")
    row = {"filename": "a.jpg", "caption": "a red cube", "negative_caption": "a blue ball"}
    (files / "swap_obj.json").write_text(json.dumps({"0": row, "1": {**row, "filename": "b.jpg"}}))
    out = tmp_path / "found.json"
    given = ["--benchmark", "sugarcrepe", "--annotations", str(files), "--images", str(images)]
    evaluate.main(["--workdir", str(run), *given, "--against", "3", "--out", str(out)])
    captured = capsys.readouterr()
    assert "1 of 2 rows are left out" in captured.err and "b.jpg (missing file)" in captured.err
    assert "step 3" in captured.out
    written = json.loads(out.read_text())
    groups = {name.split("/")[0] for name in written if "/" in name}
    assert groups == {"retrieval", "sugarcrepe"}
    assert {"sugarcrepe/mean", "sugarcrepe/itc_mean", "sugarcrepe/chance"} <= set(written)
    assert set(written["change"].values()) == {0.0}  # the same step
    assert written["against"]["retrieval/t2i_r1"] == written["retrieval/t2i_r1"]
    assert (tmp_path / "false_match_found" / "sugarcrepe.png").exists()


def test_figures_written_before_are_compared_with(run, tmp_path, capsys):
    before = tmp_path / "before.json"
    before.write_text(json.dumps({"step": 1, "retrieval/r1_chance": 0.0}))
    out = tmp_path / "now.json"
    evaluate.main(["--workdir", str(run), "--against", str(before), "--out", str(out)])
    now = json.loads(out.read_text())
    assert now["change"] == {"retrieval/r1_chance": now["retrieval/r1_chance"]} != {}
    assert now["retrieval/r1_chance"] > 0
    assert "+25.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--benchmark", "sugarcrepe"], "--annotations and --images"),
        (["--annotations", "x"], "--benchmark"),
        (["--benchmark", "nonsense", "--annotations", "x", "--images", "y"], "sugarcrepe_pp"),
        (["--benchmark", "bla", "--annotations", "none", "--images", "y"], "none"),
        (["--against", "nonsense"], "--against"),
        (["--against", "init"], "random weights"),
        (["--against", "7"], "step 7"),
    ],
)
def test_what_cannot_be_compared_is_named_in_one_line(run, capsys, flags, named):
    assert named in refused(capsys, ["--workdir", str(run), *flags])
