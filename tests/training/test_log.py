"""A method's warning is printed after its log line, and not again until a line had none."""

from ml_collections import ConfigDict

from jaxvl.training.log import Log
from jaxvl.training.nonfinite import FINITE


def test_a_warning_is_printed_once_until_a_line_had_none(tmp_path, capsys):
    log_keys = {"every_steps": 1, "tensorboard": False}
    config = ConfigDict({"total_steps": 9, "batch_size": 1, "log": log_keys})
    log = Log(
        config, tmp_path, 0, started=0.0, warn=lambda mean: "too few" if mean["loss"] < 1 else None
    )
    for step, x in enumerate([2.0, 0.0, 0.5, 3.0, 0.0]):
        norms = dict.fromkeys(FINITE, 1.0)
        log.add(step, None, {**norms, "loss": x, "learning_rate": 0.1}, waited=0.0)
    log.settle()
    log.close()
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "warning" in line] == ["warning: too few"] * 2
    assert printed.index("warning: too few") == 2  # after the line of the second step
