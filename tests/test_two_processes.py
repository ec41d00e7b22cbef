"""Two real processes on loopback do what one does: the same batches, losses, checkpoints, stop."""

import os
import signal

import numpy as np
import pytest
from toy_runs import (
    lines,
    only_error,
    parameters,
    start_together,
    wait_for_checkpoint,
    write_config,
)

from jaxvl import workdir
from jaxvl.training import loop

pytestmark = pytest.mark.slow


def start_two(config_file, directory):
    """Starts both processes, four simulated devices each."""
    return start_together(config_file, directory, count=2, devices=4)


def test_two_processes_do_what_one_does_and_stop_together(toy_config, tmp_path):
    toy_config.total_steps = 100_000
    toy_config.checkpoint.every_steps = 10
    toy_config.optim.update(warmup_steps=0, learning_rate=1e-2, final_learning_rate=1e-2)
    toy_config.mesh.fsdp = 2
    both, one = tmp_path / "both", tmp_path / "one"
    processes = start_two(write_config(toy_config, tmp_path / "experiment.py"), both)
    wait_for_checkpoint(processes[0], both, after=0)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [75, 75], outputs
    assert "step" not in outputs[1][0]  # one process speaks
    step, params = parameters(both, toy_config)
    assert f"stopped after step {step}, saved" in outputs[0][0]

    toy_config.total_steps = step
    assert loop.train(toy_config, one) == 0
    together, alone = lines(both), lines(one)
    assert [line["step"] for line in together] == list(range(1, step + 1))
    assert [line["ids"] for line in together] == [line["ids"] for line in alone]
    np.testing.assert_allclose(
        [line["loss"] for line in together], [line["loss"] for line in alone], rtol=1e-4
    )
    _, expected = parameters(one, toy_config)
    np.testing.assert_allclose(params["embedding"], expected["embedding"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dead, left", [(0, 1), (1, 0)])
def test_when_one_dies_the_other_ends_with_one_line_that_names_it(toy_config, tmp_path, dead, left):
    toy_config.total_steps = 100_000
    toy_config.checkpoint.every_steps = 10
    run = tmp_path / "run"
    processes = start_two(write_config(toy_config, tmp_path / "experiment.py"), run)
    wait_for_checkpoint(processes[0], run, after=0)
    processes[dead].kill()
    _, errors = processes[left].communicate(timeout=60)
    told = [line for line in errors.splitlines() if "has ended, so this one ends too" in line]
    if dead == 0 and processes[left].returncode == -signal.SIGABRT:
        # Where process 0 dies, JAX's own client can be faster, and ends this one, with its trace.
        assert len(told) <= 1
    else:
        assert processes[left].returncode == 1
        assert told == [only_error(errors)]
    assert all(f"process {dead} on {os.uname().nodename}" in line for line in told)
    processes[dead].communicate()


def test_when_one_cannot_go_on_the_other_does_not_wait_for_it(toy_config, tmp_path):
    run = tmp_path / "run"
    with workdir.claimed(run):  # process 0 finds that another run is there
        processes = start_two(write_config(toy_config, tmp_path / "experiment.py"), run)
        errors = [process.communicate(timeout=120)[1] for process in processes]
    assert processes[0].returncode == 2 and processes[1].returncode != 0
    assert "another training run is writing there" in only_error(errors[0])
    assert "process 0 on" in errors[1] or "JAX distributed service" in errors[1]
