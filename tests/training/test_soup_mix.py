"""Weights are mixed leaf by leaf, and only those of one model and tokenizer."""

import json
import shutil

import numpy as np
import pytest
from finished import make_run

from jaxvl.errors import UserError
from jaxvl.training import experiment, soup


def test_weights_are_mixed_leaf_by_leaf_and_the_ends_are_the_runs_themselves():
    first, second = {"a": np.array([1.0, np.inf])}, {"a": np.array([3.0, 0.0])}
    assert soup.mix(first, second, 0.25)["a"][0] == 1.5
    assert soup.mix(first, second, 0.0) is first
    assert soup.mix(first, second, 1.0) is second  # not 0 * inf


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path_factory, tmp_path, tiny_config):
    from tokenizers import Tokenizer

    run = make_run(tmp_path_factory, tiny_config)
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
        soup.soup(run, other, experiment.load_run(run), alphas=[0], out=tmp_path / "soup")
