"""Values that mean nothing are refused in one line, for every key, before anything is compiled."""

import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent / "sweeps"))
import odd_values

pytestmark = pytest.mark.slow


def test_every_key_refuses_every_value_that_means_nothing(scenes_directory, monkeypatch):
    monkeypatch.setattr(jax, "jit", None)  # nothing is compiled
    tried = 0
    for config, names in odd_values.experiments(str(scenes_directory)):
        odd_values.open_everything(config)
        found = odd_values.sweep(config, names)
        assert (found["accepted"], found["another error"]) == ([], [])
        tried += len(found["refused"])
    assert tried > 2000
