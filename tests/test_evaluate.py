"""python -m jaxvl.evaluate: a table, JSON beside it, and one line for what is wrong."""

import json

import pytest
from finished import make_run

from jaxvl import evaluate


@pytest.fixture
def run(tmp_path_factory, tiny_config):
    tiny_config.evals.retrieval.rerank = 2
    tiny_config.eval.max_examples = 4
    return make_run(tmp_path_factory, tiny_config)


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
    evaluate.use_data(tiny_config, "elsewhere")
    assert (tiny_config.data.dir, tiny_config.data.tokenizer) == ("elsewhere", mine)
    evaluate.use_data(tiny_config, "third")
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
