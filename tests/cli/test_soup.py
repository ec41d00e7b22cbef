"""jaxvl soup: mixtures of two runs, their scores as table, JSON and plot."""

import json

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
