"""launch/local.sh starts every process with its place, and ends them together."""

import os
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = """#!/usr/bin/env bash
# Stands for Python: writes its arguments to a file, and then waits for SIGTERM, or fails.
trap 'echo stopped >> "$OUT/$$"; exit 0' TERM
echo "$@" > "$OUT/$$.part" && mv "$OUT/$$.part" "$OUT/$$"
[[ ${FAIL:-} && "$*" == *--process_id=1* ]] && exit 3
while true; do sleep 0.05; done
"""


def start(directory, **environment):
    """Starts three processes, and returns the launcher once each has written its arguments."""
    python, out = directory / "python", directory / "out"
    python.write_text(PYTHON)
    python.chmod(0o755)
    out.mkdir()
    launcher = subprocess.Popen(
        [ROOT / "launch" / "local.sh", "3", "--config=x", "--workdir=two words"],
        env={**os.environ, "PYTHON": str(python), "OUT": str(out), "PORT": "7", **environment},
    )
    deadline = time.monotonic() + 60
    while len(written(out)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    return launcher, out


def written(out):
    return sorted(path.read_text() for path in out.iterdir() if path.suffix != ".part")


def test_every_process_gets_the_flags_and_its_place_and_sigterm_reaches_all(tmp_path):
    launcher, out = start(tmp_path)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=60) == 0
    assert written(out) == [
        "-m jaxvl.main --config=x --workdir=two words --coordinator=localhost:7 "
        f"--num_processes=3 --process_id={index}\nstopped\n"
        for index in range(3)
    ]


def test_where_one_fails_the_others_end_and_its_code_is_returned(tmp_path):
    launcher, out = start(tmp_path, FAIL="yes")
    assert launcher.wait(timeout=60) == 3
    assert sum("stopped" in text for text in written(out)) == 2
