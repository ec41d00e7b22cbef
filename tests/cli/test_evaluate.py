"""jaxvl evaluate: a table, JSON beside it, and one line for what is wrong."""

import json

import pytest
from finished import make_run
from PIL import Image

from jaxvl.cli import common, evaluate


@pytest.fixture
def run(tmp_path_factory, tiny_config):
    tiny_config.evals.retrieval.rerank = 2
    tiny_config.eval.max_examples = 4
    return make_run(tmp_path_factory, tiny_config, name="evaluated_run")


def test_a_table_and_json_with_the_same_numbers(run, capsys):
    evaluate.main(["--workdir", str(run)])
    printed = capsys.readouterr().out
    written = json.loads((run / "eval_val.json").read_text())
    assert (written.pop("step"), written.pop("split")) == (3, "val")
    assert {"retrieval/t2i_r10", "hard_negatives/accuracy", "grounding/pointing"} <= set(written)
    for name, value in written.items():
        assert name in printed
        if not name.startswith("grounding/words"):
            assert 0 <= value <= 1, name


def test_another_split_and_another_file(run, tmp_path):
    out = tmp_path / "train.json"
    evaluate.main(["--workdir", str(run), "--split", "train", "--out", str(out)])
    assert json.loads(out.read_text())["split"] == "train"


def test_another_data_set_is_read_with_the_tokenizer_of_the_run(tiny_config):
    mine = tiny_config.data.dir
    common.use_data(tiny_config, "elsewhere")
    assert (tiny_config.data.dir, tiny_config.data.tokenizer) == ("elsewhere", mine)
    common.use_data(tiny_config, "third")
    assert (tiny_config.data.dir, tiny_config.data.tokenizer) == ("third", mine)


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--split", "nonsense"], "nonsense"),
        (["--data", "no_such_folder"], "no_such_folder"),
        (["--out", "no_such_folder/x.json"], "--out"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(run, capsys, flags, named):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--workdir", str(run), *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert named in error and len(error.strip().splitlines()) == 1
    assert not (run / "eval_nonsense.json").exists()


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
    pictures, files = tmp_path / "pictures", tmp_path / "files"
    pictures.mkdir(), files.mkdir()
    Image.new("RGB", (40, 30), "red").save(pictures / "a.jpg")
    row = {"filename": "a.jpg", "caption": "a red cube", "negative_caption": "a blue ball"}
    (files / "swap_obj.json").write_text(json.dumps({"0": row, "1": {**row, "filename": "b.jpg"}}))
    out = tmp_path / "found.json"
    given = ["--benchmark", "sugarcrepe", "--annotations", str(files), "--images", str(pictures)]
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
    assert (tmp_path / "found_false_match" / "sugarcrepe.png").exists()


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
