"""PyTorch's side of an export, in a process of its own: `python -m jaxvl.export.pytorch JOB`.

PyTorch and TensorFlow cannot safely share a process: if TensorFlow is imported first, the import of
triton, which PyTorch brings, is a segmentation fault (triton 3.7 with TensorFlow 2.21). The process
of this module imports neither TensorFlow nor JAX. JOB is a folder:

    job.json             the functions to call, and the Run except for its tokenizer
    tokenizer.json       of the Run
    tensors.safetensors  the parameters under PyTorch's names; the format takes the file from here
    answers.npz          the arrays that were computed, or
    error.json           the reason why there are none
"""

import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxvl.errors import UserError
from jaxvl.export.types import Run
from jaxvl.files import is_disk_full

JOB = ".job"  # its place in the folder of the export, so that the tensors stay on one disk


def answers(
    folder: Path, run: Run, tensors: Mapping[str, np.ndarray], functions: Iterable[Callable]
) -> dict[str, np.ndarray]:
    """Returns {quantity: array} of what a new process wrote into `folder` and read in PyTorch.

    functions: module-level functions, called in turn. The first is `Format.write`; all others are
    called as (folder, run) and return arrays. Raises UserError where one of them fails or the
    process dies, and OSError where the disk is full.
    """
    job = folder / JOB
    job.mkdir()
    _write_job(job, run, tensors, functions)
    search = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "jaxvl.export.pytorch", str(job)],
        env={**os.environ, "PYTHONPATH": search, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise _failure(job, done)
    with np.load(job / "answers.npz", allow_pickle=False) as stored:
        found = dict(stored)
    shutil.rmtree(job)
    return found


def _write_job(job: Path, run: Run, tensors, functions) -> None:
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    save_file(arrays, str(job / "tensors.safetensors"), metadata={"format": "pt"})
    run.tokenizer.save(str(job / "tokenizer.json"))
    stored = {**run._asdict(), "config": run.config.to_dict()}
    del stored["tokenizer"]
    calls = [f"{function.__module__}:{function.__qualname__}" for function in functions]
    (job / "job.json").write_text(json.dumps({"functions": calls, "run": stored}))


def _failure(job: Path, done: subprocess.CompletedProcess) -> Exception:
    if (job / "error.json").exists():
        told = json.loads((job / "error.json").read_text())
        if told["disk_full"]:
            return OSError(errno.ENOSPC, told["message"])
        return UserError(f"PyTorch could not write or load the export: {told['message']}")
    code = done.returncode
    how = f"exit code {code}" if code > 0 else signal.strsignal(-code) or f"signal {-code}"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return UserError(f"the process that has PyTorch died ({how}): {last}; nothing was exported")


def main() -> None:
    """Does the job of the folder that the command line names; exits 1 where it fails."""
    job = Path(sys.argv[1])
    try:
        np.savez(job / "answers.npz", allow_pickle=False, **_do(job))
    except Exception as error:  # whatever PyTorch and transformers raise
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        told = {"message": message, "disk_full": is_disk_full(error)}
        (job / "error.json").write_text(json.dumps(told))
        sys.exit(1)


def _do(job: Path) -> dict[str, np.ndarray]:
    from jaxvl.data.text import tokenizer

    told = json.loads((job / "job.json").read_text())
    config = ConfigDict(told["run"].pop("config"))
    run = Run(config=config, tokenizer=tokenizer.load(job / "tokenizer.json"), **told["run"])
    write, *readers = map(_function, told["functions"])
    write(job.parent, run, job / "tensors.safetensors")
    found = {}
    for read in readers:
        found |= read(job.parent, run)
    return found


def _function(name: str) -> Callable:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    main()
