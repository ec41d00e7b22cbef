"""sbatch launch/generated/slurm.sbatch, with a stand-in for Slurm and real processes."""

import json
import subprocess
import sys

import pytest
from clusters import (
    ROOT,
    STAND_INS,
    environment,
    free_port,
    has_checkpoint,
    wait_until,
    write_command,
    write_python,
)
from toy_runs import lines

pytestmark = pytest.mark.slow


@pytest.fixture
def slurm(generated, tmp_path):
    """Returns (memory of the stand-in, what calls a command of Slurm)."""
    memory, venv = tmp_path / "slurm", tmp_path / "venv"
    memory.mkdir()
    for command in ("sbatch", "srun", "scontrol", "scancel"):
        write_command(tmp_path / "bin" / command, sys.executable, STAND_INS / "slurm.py", command)
    write_python(venv / "bin" / "python")
    (venv / "bin" / "activate").write_text(f"PATH={venv}/bin:$PATH\n")
    more = {
        "SLURM_STAND_IN": str(memory),
        "VENV": str(venv),
        "STAND_IN_JOB_ID": "4711",
        "JAX_COORDINATOR_PORT": str(free_port()),
    }
    hosts = environment(tmp_path, **more)

    def call(*command):
        return subprocess.run(command, env=hosts, cwd=ROOT, check=True, capture_output=True)

    return memory, call


def submit(call, tmp_path, *flags):
    log = tmp_path / "job.log"
    call("sbatch", f"--output={log}", tmp_path / "generated" / "slurm.sbatch", *flags)
    return log


def test_a_job_stopped_by_slurm_goes_on_and_uses_every_gpu_and_core(slurm, spec, tmp_path):
    memory, call = slurm
    log = submit(call, tmp_path)
    wait_until(lambda: (memory / "tasks").exists() and has_checkpoint(tmp_path / "a run"))
    call("scancel", "--signal=TERM", "4711")
    wait_until((memory / "ended").exists)
    assert (memory / "ended").read_text() == "0", log.read_text()
    assert (memory / "codes").read_text() == "[75, 75]\n[0, 0]\n"
    assert "back into the queue (restart 1)" in log.read_text()
    assert [line["step"] for line in lines(tmp_path / "a run")] == list(range(1, 301))
    for index in range(2):
        text = (tmp_path / "seen" / f"{index}.jsonl").read_text()
        for seen in map(json.loads, text.splitlines()):
            assert seen["process"] == f"{index} of 2"
            assert seen["gpus"] == "0,1,2,3,4,5,6,7"
            assert seen["cpus"] == str(spec["gpu"]["cpus"])


def test_a_job_that_is_refused_does_not_come_back(slurm, tmp_path):
    memory, call = slurm
    log = submit(call, tmp_path, "--config.no_such_key=1")
    wait_until((memory / "ended").exists)
    assert (memory / "ended").read_text() == "2"
    assert "back into the queue" not in log.read_text()
