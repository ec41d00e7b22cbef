"""What the tests of launch/ share: commands that stand for real ones, and a run of the toy."""

import http.server
import os
import shlex
import socket
import stat
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
HOST = STAND_INS / "host.py"


def write_command(path, *command):
    """Writes a program that calls another one, with what it is given behind `command`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def write_python(path):
    """Writes a `python` whose -m jaxvl.main trains the toy as a host of a cluster does."""
    write_command(path, sys.executable)
    text = '#!/bin/sh\n[ "$1 $2" = "-m jaxvl.main" ] || exit 9\nshift 2\n'
    path.write_text(f'{text}exec {sys.executable} {HOST} "$@"\n')


def environment(directory, **more):
    """Returns the environment of a host: two devices; what it saw is written below `directory`."""
    seen = directory / "seen"
    seen.mkdir(exist_ok=True)
    path = f"{directory / 'bin'}:{os.environ['PATH']}"
    here = {"PATH": path, "SEEN": str(seen), "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2"}
    # The second start finds what the first one has compiled.
    here["JAX_COMPILATION_CACHE_DIR"] = str(directory / "compiled")
    return {**os.environ, **here, **more}


def free_port():
    """Returns a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def wait_until(true, seconds=120):
    """Waits until `true()` holds. Raises AssertionError where it does not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def has_checkpoint(workdir):
    """Whether a run has saved."""
    return any(path.name.isdigit() for path in workdir.glob("checkpoints/*"))


def serve_metadata(answers):
    """Starts a metadata server of Google Cloud that knows these attributes. Returns its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[self.path.rpartition("/")[2]].encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"
