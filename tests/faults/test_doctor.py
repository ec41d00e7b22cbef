"""`jaxvl doctor`: a line a check; what fails says what to do, and the exit code is 1."""

import os
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from toy_runs import write_config

from jaxvl.cli import doctor
from jaxvl.doctor import check, checks
from jaxvl.doctor.check import Found

ROOT = Path(__file__).parents[2]
NAMES = ["devices", "versions", "collective", "data", "working directory", "free space"]


@pytest.fixture(autouse=True)
def read_shortly(monkeypatch):
    monkeypatch.setattr(checks, "READING", 0.1)


def examined(capsys, *arguments):
    """Returns (exit code, {check: (ok or FAIL, text)}) of the command."""
    with pytest.raises(SystemExit) as end:
        doctor.main([str(argument) for argument in arguments])
    return end.value.code, table(capsys.readouterr().out)


def table(output):
    found = {}
    for line in output.splitlines():
        if not line.startswith(("ok", "FAIL")):
            continue  # of a library in several processes
        name = next(name for name in [*NAMES, "configuration"] if line[6:].startswith(name))
        found[name] = (line[:4].strip(), line[6 + len(name) :].strip())
    return found


def test_a_good_machine_passes_and_nothing_is_left_behind(capsys, scenes_directory, tmp_path):
    code, found = examined(capsys, "--workdir", tmp_path / "run", "--data", scenes_directory)
    assert code == 0 and list(found) == NAMES
    assert {state for state, _ in found.values()} == {"ok"}
    assert found["devices"][1] == "8 x cpu"
    assert found["data"][1].startswith("52 examples; ")
    assert list((tmp_path / "run").iterdir()) == []


def test_an_experiment_is_held_against_the_devices_and_the_disk(
    capsys, tiny_config, tmp_path, monkeypatch
):
    file = write_config(tiny_config, tmp_path / "experiment.py")
    code, found = examined(capsys, f"--config={file}", "--workdir", tmp_path)
    assert code == 0 and "1 examples a step and device" in found["configuration"][1]
    assert "(4 checkpoints of " in found["free space"][1]

    usage = namedtuple("usage", "free")
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage(1000))
    code, found = examined(capsys, f"--config={file}", "--workdir", tmp_path)
    state, text = found["free space"]
    assert code == 1 and state == "FAIL" and "make room, or choose another --workdir" in text

    code, found = examined(capsys, f"--config={file}", "--config.batch_size=9")
    state, text = found["configuration"]
    assert code == 1 and state == "FAIL" and "batch_size=9" in text


def test_what_cannot_be_read_or_written_says_what_to_do(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, found = examined(
        capsys, "--workdir", tmp_path / "file" / "run", "--data", tmp_path / "none"
    )
    assert code == 1
    assert {name for name, (state, _) in found.items() if state == "FAIL"} == {
        "data",
        "working directory",
    }
    assert str(tmp_path / "none") in found["data"][1]
    assert "choose another place" in found["working directory"][1]


def test_an_accelerator_that_jax_does_not_use_is_noticed(capsys, monkeypatch):
    monkeypatch.setattr(checks, "ACCELERATORS", ["/dev/null"])
    code, found = examined(capsys)
    assert code == 1
    assert found["devices"][0] == "FAIL" and "pip install 'jax[cuda" in found["devices"][1]


def test_a_device_that_adds_wrong_is_noticed(capsys, monkeypatch):
    monkeypatch.setattr(checks.jax, "device_get", lambda array: np.asarray(array) + 1)
    code, found = examined(capsys)
    assert code == 1
    assert "the sum over 8 devices is wrong" in found["collective"][1]


def test_a_key_without_an_experiment_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        doctor.main(["--config.batch_size=9"])
    assert end.value.code == 2
    assert "name it with --config" in capsys.readouterr().err


def test_a_check_without_an_answer_ends_with_what_to_do():
    code = (
        "import time\n"
        "from jaxvl.doctor import check\n"
        "check.LIMIT = 0.5\n"
        "check.make_all([check.Check('data', lambda: time.sleep(60), 'the disk does not answer')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == "FAIL  data  no answer within 0.5 s; the disk does not answer\n"


def test_the_slowest_process_is_shown_and_one_that_differs_is_named():
    def answer(number, problem="", rate=1.0, devices="8 x cpu"):
        facts = {"devices": {"of this process": devices}}
        return check._Answer(f"process {number} on host", problem, "text", {"MiB/s": rate}, facts)

    assert check._told([answer(0, rate=30), answer(1, rate=20)]) == (
        "text; 20 MiB/s in the slowest process"
    )
    assert check._problem([answer(0), answer(1)]) == ""
    assert "process 1 on host and process 0 on host differ in devices" in check._problem(
        [answer(0), answer(1, devices="4 x cpu")]
    )
    assert check._problem([answer(0), answer(1, "no disk"), answer(2, "no disk")]) == (
        "process 1 on host: no disk (and 1 more processes)"
    )


def test_what_a_check_raises_is_a_line_and_no_stack(capsys):
    def fail():
        raise RuntimeError("out of memory\nand a long stack")

    assert not check.make_all([check.Check("collective", fail, "")])
    assert capsys.readouterr().out == "FAIL  collective  RuntimeError: out of memory\n"
    assert check.make_all([check.Check("collective", lambda: Found("fine"), "")])


@pytest.mark.slow
def test_a_working_directory_that_the_other_host_does_not_see_is_noticed(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = []
    for index in range(2):
        here = tmp_path / str(index)  # a relative place, so that each writes to a disk of its own
        here.mkdir()
        flags = [f"--coordinator={address}", "--num_processes=2", f"--process_id={index}"]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "jaxvl", "doctor", "--workdir=run", *flags],
                cwd=here,
                env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [1, 1], outputs
    found = table(outputs[0][0])
    assert found["devices"] == ("ok", "2 x cpu in each of 2 processes")
    assert found["collective"][0] == "ok" and "over all 4" in found["collective"][1]
    assert "what process 1 wrote is not seen here" in found["working directory"][1]
    assert table(outputs[1][0]) == {}  # one process speaks
