"""Stands for Slurm 23: sbatch, srun, scontrol and scancel; each task is a process on this machine.

Unknown options are refused. Taken from the manual pages: srun does not take --cpus-per-task from
sbatch; it returns the highest exit code of its tasks; --kill-on-bad-exit=1 kills the others when
one ends with an error; a signal without B: goes to the tasks, not to the batch script; a job that
is requeued loses its batch script, keeps its number, and starts again with SLURM_RESTART_COUNT.
The folder SLURM_STAND_IN is its memory.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SBATCH = "job-name nodes ntasks-per-node gpus-per-node cpus-per-task time signal open-mode output"
MEMORY = Path(os.environ["SLURM_STAND_IN"])


def options(command, names):
    parser = argparse.ArgumentParser(prog=command, allow_abbrev=False)
    for name in names.split():
        parser.add_argument(f"--{name}")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    return parser


def sbatch(arguments):
    """Takes a job into the queue, where it starts at once."""
    parser = options("sbatch", SBATCH)
    parser.add_argument("--requeue", action="store_true")
    script, *_ = parser.parse_args(arguments).rest
    lines = Path(script).read_text().splitlines()
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    asked = parser.parse_args([*asked, *arguments])
    job = os.environ["STAND_IN_JOB_ID"]
    spool = MEMORY / "slurm_script"  # Slurm runs a copy
    shutil.copy(script, spool)
    (MEMORY / "asked.json").write_text(json.dumps(vars(asked)))
    with Path(asked.output.replace("%j", job)).open("a") as log:
        command = [sys.executable, __file__, "run the job", job, str(spool), *asked.rest[1:]]
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    print(f"Submitted batch job {job}")


def run_the_job(arguments):
    """Starts the batch script until it ends and was not requeued."""
    job, *command = arguments
    asked = json.loads((MEMORY / "asked.json").read_text())
    environment = {
        **os.environ,
        "SLURM_JOB_ID": job,
        "SLURM_SUBMIT_DIR": os.getcwd(),
        "SLURM_JOB_NUM_NODES": asked["nodes"],
        "SLURM_NTASKS_PER_NODE": asked["ntasks_per_node"],
        "SLURM_CPUS_PER_TASK": asked["cpus_per_task"],
        "SLURM_GPUS_ON_NODE": asked["gpus_per_node"],
    }
    for restart in range(10):
        if restart:
            environment["SLURM_RESTART_COUNT"] = str(restart)
        batch = subprocess.Popen(["bash", *command], env=environment)
        (MEMORY / "batch").write_text(str(batch.pid))
        code = batch.wait()
        if not (MEMORY / "requeued").exists():
            break
        (MEMORY / "requeued").unlink()
    (MEMORY / "ended.part").write_text(str(code))
    (MEMORY / "ended.part").rename(MEMORY / "ended")


def srun(arguments):
    """Starts the tasks of a step and returns the highest exit code."""
    asked = options("srun", "cpus-per-task kill-on-bad-exit wait").parse_args(arguments)
    nodes, each = (int(os.environ[f"SLURM_{x}"]) for x in ("JOB_NUM_NODES", "NTASKS_PER_NODE"))
    tasks = []
    for task in range(nodes * each):
        place = {
            "SLURM_NTASKS": nodes * each,
            "SLURM_STEP_NUM_NODES": nodes,
            "SLURM_STEP_NODELIST": "localhost,other",
            "SLURM_PROCID": task,
            "SLURM_NODEID": task // each,
            "SLURM_LOCALID": task % each,
            "SLURM_CPUS_PER_TASK": asked.cpus_per_task or 1,
        }
        environment = {**os.environ, **{key: str(value) for key, value in place.items()}}
        tasks.append(subprocess.Popen(asked.rest, env=environment))
    (MEMORY / "tasks.part").write_text(" ".join(str(task.pid) for task in tasks))
    (MEMORY / "tasks.part").rename(MEMORY / "tasks")
    while any(task.poll() is None for task in tasks):
        time.sleep(0.02)
        if asked.kill_on_bad_exit == "1" and any(task.poll() for task in tasks):
            for task in tasks:
                task.kill()
    codes = [task.returncode if task.returncode >= 0 else 128 - task.returncode for task in tasks]
    (MEMORY / "codes").open("a").write(f"{codes}\n")
    sys.exit(max(codes))


def scontrol(arguments):
    """scontrol requeue JOB: ends the batch script; the job starts again."""
    verb, _job = arguments
    assert verb == "requeue", verb
    (MEMORY / "requeued").touch()
    os.kill(int((MEMORY / "batch").read_text()), signal.SIGKILL)


def scancel(arguments):
    """scancel --signal=TERM JOB: to the tasks, as Slurm does before the time is up."""
    asked = options("scancel", "signal").parse_args(arguments)
    for task in (MEMORY / "tasks").read_text().split():
        os.kill(int(task), signal.Signals[f"SIG{asked.signal}"])


if __name__ == "__main__":
    globals()[sys.argv[1].replace(" ", "_")](sys.argv[2:])
