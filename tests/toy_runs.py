"""Runs of the toy of toy.py as processes of their own, and the files that they write."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from jaxvl import checkpoint, sharding
from jaxvl.models import MODELS

TOY = Path(__file__).parent / "toy.py"


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def parameters(directory, config):
    model, mesh = MODELS["toy"].make(config), sharding.make_mesh(config.mesh)
    params, step = checkpoint.restore_params(directory, model=model, mesh=mesh, use_ema=False)
    return step, jax.tree.map(np.array, params)


def write_config(config, path):
    """Writes a configuration file that gives the values of `config`."""
    path.write_text(
        "from jaxvl.config import base\n\n\ndef get_config():\n    config = base()\n"
        f"    config.update({config.to_dict()!r})\n    return config\n"
    )
    return path


def start(config_file, directory, *arguments):
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "PYTHONPATH": str(TOY.parents[1])}
    environment["JAX_NUMPY_RANK_PROMOTION"] = "raise"
    return subprocess.Popen(
        [sys.executable, TOY, f"--config={config_file}", f"--workdir={directory}", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_together(config_file, directory, *, count, devices, program=TOY, changes=None):
    """Starts the processes of one run on loopback.

    devices: simulated ones of each. changes: {process: variables of its environment}.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    environment["PYTHONPATH"] = os.pathsep.join([str(TOY.parents[1]), str(TOY.parent)])
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    flags = [f"--config={config_file}", f"--workdir={directory}", f"--coordinator={address}"]
    return [
        subprocess.Popen(
            [sys.executable, program, *flags, f"--num_processes={count}", f"--process_id={index}"],
            env={**environment, **(changes or {}).get(index, {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def wait_for_checkpoint(process, directory, after):
    """Waits until the run has a complete checkpoint of a step above `after`."""
    while not any(int(p.name) > after for p in directory.glob("checkpoints/*") if p.name.isdigit()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def only_error(errors):
    """Returns the one line on stderr behind the report of the texts."""
    found = [line for line in errors.splitlines() if not line.startswith("texts of ")]
    assert len(found) == 1, errors
    return found[0]
