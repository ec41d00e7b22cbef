"""launch/tpu_vm.sh, with a stand-in for gcloud, two workers and real processes."""

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
    serve_metadata,
    wait_until,
    write_command,
)
from toy_runs import lines

pytestmark = pytest.mark.slow


@pytest.fixture
def gcloud(generated, tmp_path):
    """Returns (memory of the stand-in, what calls launch/tpu_vm.sh and returns the process)."""
    memory = tmp_path / "gcloud"
    memory.mkdir()
    write_command(tmp_path / "bin" / "gcloud", sys.executable, STAND_INS / "gcloud.py")
    for number in range(2):
        answers = {
            "agent-worker-number": str(number),
            "worker-network-endpoints": "a:0:127.0.0.1,b:1:127.0.0.1",
            "tpu-env": "ACCELERATOR_TYPE: 'v4-16'\n",
        }
        (memory / f"metadata-{number}").write_text(serve_metadata(answers))
    more = {
        "SETTINGS": str(generated / "tpu_vm.env"),
        "GCLOUD_STAND_IN": str(memory),
        "PAUSE": "0.1",
        "TPU_HOST": "yes",
        "JAX_COORDINATOR_PORT": str(free_port()),
    }
    hosts = environment(tmp_path, **more)

    def call(*arguments):
        command = [ROOT / "launch" / "tpu_vm.sh", *arguments]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return subprocess.Popen(command, env=hosts, **pipes)

    return memory, call


def run(call, *arguments):
    """Returns (exit code, lines printed, errors)."""
    process = call(*arguments)
    out, errors = process.communicate(timeout=300)
    return process.returncode, out.splitlines(), errors


def calls(memory, command):
    found = [json.loads(line) for line in (memory / "calls").read_text().splitlines()]
    return [flags for name, flags in found if name == command]


def test_a_run_outlives_its_connection_and_is_watched_and_stopped(gcloud, tmp_path):
    memory, call = gcloud
    code, _, errors = run(call, "create")
    assert code == 0, errors
    assert all((memory / f"worker-{number}" / "installed").exists() for number in range(2))
    [asked] = calls(memory, "queued-resources create")
    assert asked["spot"] and asked["accelerator_type"] == "v4-16"
    assert asked["runtime_version"] == "tpu-ubuntu2204-base"
    assert run(call, "status")[1][1:] == ["t1v-jaxvl-w-0: no run", "t1v-jaxvl-w-1: no run"]

    flags = ["--config.total_steps=100000"]
    assert run(call, "start", *flags)[0] == 0  # the connection has ended; the run has not
    code, _, errors = run(call, "start")
    assert code == 2 and "a run is running; stop it first" in errors
    wait_until(lambda: has_checkpoint(tmp_path / "a run"))
    code, printed, _ = run(call, "status")
    assert printed == ["slice: ACTIVE", "t1v-jaxvl-w-0: running", "t1v-jaxvl-w-1: running"]
    attached = call("attach")
    assert run(call, "stop")[0] == 0
    out, _ = attached.communicate(timeout=300)
    assert attached.returncode == 75
    assert out.splitlines()[-2:] == [f"t1v-jaxvl-w-{i}: ended with 75" for i in range(2)]

    assert "stopped after step" in "\n".join(run(call, "logs", "0")[1])
    assert run(call, "delete")[0] == 0 and not (memory / "worker-0").exists()


def test_keep_asks_for_a_new_slice_when_one_is_taken_away(gcloud, tmp_path):
    memory, call = gcloud
    keeping = call("keep")
    wait_until(lambda: has_checkpoint(tmp_path / "a run"))
    (memory / "taken").touch()  # Google gives notice: SIGTERM; the slice is gone after it
    for number in range(2):
        subprocess.run(["kill", "-TERM", (memory / f"worker-{number}/run/pid").read_text().strip()])
    out, errors = keeping.communicate(timeout=300)
    assert keeping.returncode == 0, (out, errors)
    assert len(calls(memory, "queued-resources create")) == 2
    assert [line["step"] for line in lines(tmp_path / "a run")] == list(range(1, 301))


def test_a_run_that_is_refused_is_not_tried_again(gcloud):
    memory, call = gcloud
    code, printed, _ = run(call, "keep", "--config.no_such_key=1")
    assert code == 2
    assert printed[-2:] == [f"t1v-jaxvl-w-{number}: ended with 2" for number in range(2)]
    assert len(calls(memory, "queued-resources create")) == 1
