"""Four real processes on loopback: what one does wrong, the others say in one line, and end."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from toy_runs import only_error, start_together, wait_for_checkpoint, write_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def start_four(config, directory, **more):
    """Starts four processes, one simulated device each."""
    config_file = write_config(config, directory.parent / "experiment.py")
    return start_together(config_file, directory, count=4, devices=1, **more)


def test_a_frozen_process_is_named_and_the_others_end_and_leave_their_stacks(toy_config, tmp_path):
    toy_config.total_steps = 100_000
    toy_config.checkpoint.every_steps = 10
    toy_config.watchdog_seconds = 8
    run = tmp_path / "run"
    processes = start_four(toy_config, run)
    wait_for_checkpoint(processes[0], run, after=0)
    processes[3].stderr.close()  # nobody reads what it says, and it ends all the same
    processes[2].send_signal(signal.SIGSTOP)
    assert processes[3].wait(timeout=60) == 1
    for number in (0, 1):
        _, errors = processes[number].communicate(timeout=60)
        line, stacks = only_error(errors), run / "stacks" / f"process_{number}.txt"
        assert processes[number].returncode == 1
        assert f"nothing was heard of process 2 on {os.uname().nodename} for" in line
        assert str(stacks) in line
        assert "jaxvl/training/loop.py" in stacks.read_text()  # of the main thread
    processes[2].send_signal(signal.SIGCONT)  # and one that comes back is too late
    processes[2].communicate(timeout=60)
    assert processes[2].returncode != 0


def test_a_host_with_other_code_is_refused_by_all_before_anything_is_written(toy_config, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(ROOT / "jaxvl", other / "jaxvl", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "jaxvl" / "losses" / "itm.py").open("a") as file:
        file.write("# an older version\n")
    path = os.pathsep.join([str(other), str(ROOT / "tests")])
    processes = start_four(toy_config, tmp_path / "run", changes={2: {"PYTHONPATH": path}})
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [2] * 4, outputs
    host = os.uname().nodename
    for _, errors in outputs:
        assert f"process 2 on {host} and process 0 on {host} differ in code:" in errors
        assert "jaxvl/losses/itm.py" in only_error(errors)
    assert not (tmp_path / "run").exists()
