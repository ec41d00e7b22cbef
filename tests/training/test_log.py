"""A method's warning appears with the log line it comes from, once until all is well again."""

from ml_collections import ConfigDict

from jaxvl.training.log import Log


def test_a_warning_is_said_once_until_all_is_well_again(tmp_path, capsys):
    log_keys = {"every_steps": 1, "tensorboard": False}
    config = ConfigDict({"total_steps": 9, "batch_size": 1, "log": log_keys})
    log = Log(config, tmp_path, 0, warn=lambda mean: "too few" if mean["loss"] < 1 else None)
    for step, x in enumerate([2.0, 0.0, 0.5, 3.0, 0.0]):
        log.add(step, None, {"loss": x, "norm/gradient": 1.0, "learning_rate": 0.1}, waited=0.0)
    log.settle()
    log.close()
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "warning" in line] == ["warning: too few"] * 2
    assert said.index("warning: too few") == 2  # behind the second step's line
