"""Stands for `gcloud compute tpus`: a slice whose workers are folders, and commands in them.

Unknown flags are refused. As in gcloud 528: tpu-vm ssh --worker=all runs the command on all
workers at the same time, says on stderr which of them failed, and ends with the exit status of the
first such worker; a queued resource is ACTIVE only after a while, and SUSPENDED when its slice is
taken away. Each worker has its own home, in which the command runs, and a metadata server.
The folder GCLOUD_STAND_IN is its memory; the file `taken` there takes the slice away.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from clusters import STAND_INS, write_command

MEMORY = Path(os.environ["GCLOUD_STAND_IN"])
HOMES = [MEMORY / f"worker-{index}" for index in range(2)]
COMMANDS = {
    "queued-resources create": "node-id accelerator-type runtime-version spot",
    "queued-resources describe": "format",
    "queued-resources delete": "force quiet",
    "tpu-vm scp": "worker",
    "tpu-vm ssh": "worker command ssh-flag",
}


def main(arguments):
    """Runs `compute tpus GROUP COMMAND ...`."""
    command = " ".join(arguments[2:4])
    assert arguments[:2] == ["compute", "tpus"] and command in COMMANDS, arguments
    parser = argparse.ArgumentParser(prog=f"gcloud {command}", allow_abbrev=False)
    parser.add_argument("places", nargs="+")
    for flag in ["project", "zone", *COMMANDS[command].split()]:
        is_switch = flag in ("spot", "force", "quiet")
        parser.add_argument(f"--{flag}", **({"action": "store_true"} if is_switch else {}))
    flags = parser.parse_args(arguments[4:])
    assert flags.project and flags.zone
    with (MEMORY / "calls").open("a") as calls:
        calls.write(json.dumps([command, {k: v for k, v in vars(flags).items() if v}]) + "\n")
    return globals()[command.replace(" ", "_").replace("-", "_")](flags)


def state(new=None):
    """Returns the state of the queued resource, "" where there is none; `new` is the next one."""
    file = MEMORY / "state"
    if new:
        file.write_text(new)
    if (MEMORY / "taken").exists():
        (MEMORY / "taken").unlink()
        file.write_text("SUSPENDED")
    return file.read_text() if file.exists() else ""


def queued_resources_create(flags):
    if state():
        return "ALREADY_EXISTS"
    state("WAITING_FOR_RESOURCES")


def queued_resources_describe(flags):
    if not (now := state()):
        return "NOT_FOUND"
    if now == "WAITING_FOR_RESOURCES":
        state("ACTIVE")
        for index, home in enumerate(HOMES):
            (home / "bin").mkdir(parents=True)
            tools = STAND_INS / "tpu_worker.py"
            write_command(home / "bin" / "python3", sys.executable, tools, "python3")
            (home / "metadata").write_text((MEMORY / f"metadata-{index}").read_text())
    print(now)


def queued_resources_delete(flags):
    if not state():
        return "NOT_FOUND"
    (MEMORY / "state").unlink()
    for home in HOMES:
        shutil.rmtree(home)


def chosen(flags):
    """Returns {number of a worker: its home} of --worker."""
    assert state() == "ACTIVE", "the slice is not there"
    numbers = range(len(HOMES)) if flags.worker == "all" else [int(flags.worker or 0)]
    return {number: HOMES[number] for number in numbers}


def tpu_vm_scp(flags):
    source, target = flags.places
    for home in chosen(flags).values():
        shutil.copy(source, home / target.partition(":")[2])


def tpu_vm_ssh(flags):
    processes = {}
    for number, home in chosen(flags).items():
        environment = {
            **os.environ,
            "HOME": str(home),
            "HOSTNAME": f"t1v-{flags.places[0]}-w-{number}",
            "PATH": f"{home / 'bin'}:/usr/bin:/bin",
            "GCE_METADATA_IP": (home / "metadata").read_text(),
        }
        processes[number] = subprocess.Popen(
            ["bash", "-c", flags.command], cwd=home, env=environment
        )
    codes = {number: process.wait() for number, process in processes.items()}
    for number, code in codes.items():
        if code:
            print(f"##### Command execution on worker {number} failed with {code}", file=sys.stderr)
    return next((code for code in codes.values() if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
