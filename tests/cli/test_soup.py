"""jaxvl soup: mixtures of two runs, their scores as table, JSON and picture."""

import json
import shutil

import numpy as np
import pytest
from finished import make_run
from PIL import Image

from jaxvl.cli import soup
from jaxvl.errors import UserError


@pytest.fixture
def run(tmp_path_factory, tiny_config):
    tiny_config.evals.retrieval.rerank = 2
    tiny_config.eval.max_examples = 4
    return make_run(tmp_path_factory, tiny_config)


def test_both_ends_are_among_the_alphas():
    assert soup.parse_alphas("0:1:0.1") == pytest.approx(np.arange(11) / 10)
    assert soup.parse_alphas("0.2:0.2:1") == [0.2]


@pytest.mark.parametrize("text", ["", "1", "0:1:0", "0:2:0.5", "1:0:0.1", "0:1:1e-9", "a:b:c"])
def test_alphas_that_make_no_sense_are_refused(text):
    with pytest.raises(UserError, match="--alphas"):
        soup.parse_alphas(text)


def test_weights_are_mixed_leaf_by_leaf_and_the_ends_are_the_runs_themselves():
    first, second = {"a": np.array([1.0, np.inf])}, {"a": np.array([3.0, 0.0])}
    assert soup.mix(first, second, 0.25)["a"][0] == 1.5
    assert soup.mix(first, second, 0.0) is first
    assert soup.mix(first, second, 1.0) is second  # not 0 * inf


def test_each_mixture_is_evaluated(run, tmp_path, capsys):
    out = tmp_path / "soup"
    soup.main(["--a", str(run), "--b", str(run), "--alphas", "0:1:1", "--out", str(out)])
    assert "alpha 1" in capsys.readouterr().out
    first, second = json.loads((out / "soup.json").read_text())["mixtures"]
    assert (first.pop("alpha"), second.pop("alpha")) == (0, 1)
    assert first == second and not any("grounding" in name for name in first)
    table = (out / "soup.md").read_text()
    assert "| alpha | retrieval/mean_recall | hard_negatives/accuracy |" in table
    assert Image.open(out / "soup.png").format == "PNG"


def test_runs_of_other_models_are_refused_and_nothing_is_written(run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((run / "config.json").read_text())
    config["model"]["image"]["layers"] = 2
    (other / "config.json").write_text(json.dumps(config))
    out = tmp_path / "soup"
    with pytest.raises(SystemExit) as stop:
        soup.main(["--a", str(run), "--b", str(other), "--out", str(out)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "model.image.layers=2" in error and len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_a_tokenizer_of_another_vocabulary_is_refused(run, tmp_path):
    from tokenizers import Tokenizer

    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((run / "config.json").read_text())
    words = Tokenizer.from_file(f"{config['data']['dir']}/tokenizer.json")
    vocabulary = words.to_str().replace('"square"', '"squares"')
    assert vocabulary != words.to_str()
    (other / "tokenizer.json").write_text(vocabulary)
    config["data"]["tokenizer"] = str(other)
    (other / "config.json").write_text(json.dumps(config))
    shutil.copytree(run / "checkpoints", other / "checkpoints")
    with pytest.raises(UserError, match="tokenizer"):
        soup.soup(run, other, alphas=[0], out=tmp_path / "soup")
