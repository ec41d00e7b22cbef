"""Write the files that start a run on a cluster, all from one spec, so that they cannot differ.

  python launch/generate.py                               launch/spec.yaml -> launch/generated/
  python launch/generate.py --spec mine.yaml --out mine   for a run of your own

Needs PyYAML, which jaxvl brings. The keys are explained in spec.yaml.
"""

import argparse
import math
import re
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent
TPU = {"slice": str, "spot": bool, "project": str, "zone": str, "cluster": str, "image": str}
GPU = {"nodes": int, "gpus": int, "cpus": int, "hours": int}
TOP = {"name": str, "config": str, "data": str, "workdir": str, "flags": list, "restarts": int}
KEYS = {**TOP, "tpu": TPU, "gpu": GPU}
MEANING = {str: "a text", bool: "true or false", int: "a number above 0", list: "a list"}
GRACE = 180  # seconds from SIGTERM to SIGKILL: to end the step and save
PROGRAM = ["python", "-m", "jaxvl.main", "--distributed"]
STOPPED, REFUSED = 75, 2  # exit codes of `jaxvl train`: start it again; do not


class Generation(NamedTuple):
    """What Google calls a TPU generation, in three places, and how many chips a host has."""

    slice_name: str  # of TPU VMs, xpk and SkyPilot; {cores}: two a chip
    gke_name: str
    image: str  # of a TPU VM: all have Python 3.10
    alone: int  # a slice up to this many chips is one host; in a larger one a host has four


GENERATIONS = {
    "v4": Generation("v4-{cores}", "tpu-v4-podslice", "tpu-ubuntu2204-base", 4),
    "v5e": Generation("v5litepod-{chips}", "tpu-v5-lite-podslice", "v2-alpha-tpuv5-lite", 8),
    "v5p": Generation("v5p-{cores}", "tpu-v5p-slice", "v2-alpha-tpuv5", 4),
    "v6e": Generation("v6e-{chips}", "tpu-v6e-slice", "v2-alpha-tpuv6e", 8),
}


class Slice(NamedTuple):
    """A TPU slice, from `GENERATION:TOPOLOGY`."""

    generation: Generation
    topology: str

    @property
    def chips(self) -> int:
        """The number of chips."""
        return math.prod(int(side) for side in self.topology.split("x"))

    @property
    def chips_of_host(self) -> int:
        """The number of chips of each host."""
        return self.chips if self.chips <= self.generation.alone else 4

    @property
    def name(self) -> str:
        """The accelerator type, such as v5litepod-16."""
        return self.generation.slice_name.format(chips=self.chips, cores=2 * self.chips)


def slice_of(spec: dict[str, Any]) -> Slice:
    """Returns the slice of a spec. Raises ValueError where there is no such slice."""
    generation, _, topology = spec["tpu"]["slice"].partition(":")
    sides = 3 if generation in ("v4", "v5p") else 2
    if generation not in GENERATIONS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", topology):
        raise ValueError(f"tpu.slice: {spec['tpu']['slice']} is not like v5e:4x4")
    if topology.count("x") != sides - 1:
        raise ValueError(f"tpu.slice: a topology of {generation} has {sides} sides")
    where = Slice(GENERATIONS[generation], topology)
    if where.chips % where.chips_of_host:
        raise ValueError(f"tpu.slice: there are no slices of {where.chips} chips")
    return where


def read(path: Path) -> dict[str, Any]:
    """Returns a spec. Raises ValueError naming the key that is missing, unknown or of no use."""
    spec = yaml.safe_load(path.read_text())
    check(spec, KEYS, "")
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,37}[a-z0-9])?", spec["name"]):
        raise ValueError("name: takes at most 39 of a-z, 0-9 and -, and begins with a letter")
    if not all(isinstance(flag, str) and flag.startswith("--") for flag in spec["flags"]):
        raise ValueError("flags: takes a list of flags, such as [--config.batch_size=1024]")
    slice_of(spec)
    return spec


def check(values: Any, keys: dict[str, Any], prefix: str) -> None:
    """Raises ValueError unless `values` has exactly these keys, each of its type and above zero."""
    if not isinstance(values, dict):
        raise ValueError(f"{prefix or 'the file '}needs the keys {', '.join(keys)}")
    for key in [*values, *keys]:
        if key not in keys or key not in values:
            raise ValueError(f"{prefix}{key} {'is missing' if key in keys else 'is not a key'}")
        kind, value = keys[key], values[key]
        if isinstance(kind, dict):
            check(value, kind, f"{key}.")
        elif type(value) is not kind or (kind is int and value < 1) or value == "":
            raise ValueError(f"{prefix}{key}: {value!r} is not {MEANING[kind]}")


def train(spec: dict[str, Any]) -> list[str]:
    """Returns the flags of `jaxvl train`."""
    return [
        f"--config={spec['config']}",
        f"--config.data.dir={spec['data']}",
        f"--workdir={spec['workdir']}",
        *spec["flags"],
    ]


def jobset(spec: dict[str, Any]) -> str:
    """Returns a JobSet for Google Kubernetes Engine: one pod for each host of the slice."""
    tpu, where = spec["tpu"], slice_of(spec)
    hosts = where.chips // where.chips_of_host
    nodes = {
        "cloud.google.com/gke-tpu-accelerator": where.generation.gke_name,
        "cloud.google.com/gke-tpu-topology": where.topology,
    }
    if tpu["spot"]:
        nodes["cloud.google.com/gke-spot"] = "true"
    container = {
        "name": "jaxvl",
        "image": tpu["image"],
        "command": [*PROGRAM, *train(spec)],
        "securityContext": {"allowPrivilegeEscalation": False},
        "resources": {"limits": {"google.com/tpu": where.chips_of_host}},
    }
    refused = {"containerName": "jaxvl", "operator": "In", "values": [REFUSED]}
    job = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,  # one pod that ends with another code than 0 ends the job
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": refused}]},
        "template": {
            "spec": {
                "restartPolicy": "Never",  # podFailurePolicy asks for it; the JobSet restarts
                "terminationGracePeriodSeconds": GRACE,
                "nodeSelector": nodes,
                "containers": [container],
            }
        },
    }
    # A job that ended by its podFailurePolicy was refused, and would be again. After every other
    # end (75, a lost node, a peer that is gone) all pods start again, from the newest checkpoint.
    rule = {"name": "refused", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    once_in_a_slice = {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    content = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": spec["name"], "annotations": once_in_a_slice},
        "spec": {
            "failurePolicy": {"maxRestarts": spec["restarts"], "rules": [rule]},
            "replicatedJobs": [{"name": "hosts", "replicas": 1, "template": {"spec": job}}],
        },
    }
    return yaml.safe_dump(content, sort_keys=False, width=100)


def xpk(spec: dict[str, Any]) -> str:
    """Returns the xpk command that starts such pods in a cluster of `xpk cluster create`."""
    tpu = spec["tpu"]
    flags = {
        "workload": spec["name"],
        "project": tpu["project"],
        "zone": tpu["zone"],
        "cluster": tpu["cluster"],
        "tpu-type": slice_of(spec).name,
        "num-slices": 1,
        "docker-image": tpu["image"],
        "max-restarts": spec["restarts"],
        "restart-on-exit-codes": f"1,{STOPPED}",  # 1: another host was lost
        "termination-grace-period-seconds": GRACE,
        "command": shlex.join([*PROGRAM, *train(spec)]),
    }
    command = [f"--{flag}={shlex.quote(str(value))}" for flag, value in flags.items()]
    return "xpk workload create \\\n  " + " \\\n  ".join([*command, '"$@"']) + "\n"


def skypilot(spec: dict[str, Any]) -> str:
    """Returns a SkyPilot task, for `sky jobs launch`: a slice that is asked for again when lost."""
    tpu, where = spec["tpu"], slice_of(spec)
    content = {
        "name": spec["name"],
        "workdir": ".",
        "resources": {
            "infra": f"gcp/*/{tpu['zone']}",
            "accelerators": f"tpu-{where.name}",
            "accelerator_args": {"runtime_version": where.generation.image, "tpu_vm": True},
            "use_spot": tpu["spot"],
            "job_recovery": {"recover_on_exit_codes": [STOPPED]},
        },
        "num_nodes": 1,  # one slice: SkyPilot runs the commands below on each of its hosts
        "setup": "bash launch/worker.sh install .",
        "run": shlex.join([*PROGRAM, *train(spec)]).replace("python", "~/venv/bin/python", 1),
    }
    return yaml.safe_dump(content, sort_keys=False, width=200)


def slurm(spec: dict[str, Any]) -> str:
    """Returns the script for sbatch: what to ask Slurm for, and then launch/slurm.sh."""
    gpu = spec["gpu"]
    asked = {
        "job-name": spec["name"],
        "nodes": gpu["nodes"],
        "ntasks-per-node": 1,
        "gpus-per-node": gpu["gpus"],
        "cpus-per-task": gpu["cpus"],
        "time": f"{gpu['hours']}:00:00",
        "signal": f"TERM@{GRACE}",  # to the processes, not to the script: they save and end
        "requeue": None,
        "open-mode": "append",  # a job that goes on adds to its log
        "output": f"{spec['name']}-%j.log",
    }
    lines = [f"#SBATCH --{key}" + (f"={value}" if value else "") for key, value in asked.items()]
    lines += [f"export RESTARTS={spec['restarts']}"]
    return "\n".join([*lines, f'exec bash launch/slurm.sh {shlex.join(train(spec))} "$@"']) + "\n"


def tpu_vm(spec: dict[str, Any]) -> str:
    """Returns the settings that launch/tpu_vm.sh reads."""
    tpu, where = spec["tpu"], slice_of(spec)
    values = {
        "NAME": spec["name"],
        "PROJECT": tpu["project"],
        "ZONE": tpu["zone"],
        "ACCELERATOR": where.name,
        "IMAGE": where.generation.image,
        "SPOT": "--spot" if tpu["spot"] else "",
        "RESTARTS": str(spec["restarts"]),
        "WORKERS": str(where.chips // where.chips_of_host),
    }
    lines = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
    return "\n".join([*lines, f"FLAGS=({shlex.join(train(spec))})"]) + "\n"


BASH = "#!/usr/bin/env bash\n"
FILES = {  # name: (what stands above the note, what writes the rest)
    "jobset.yaml": ("", jobset),
    "xpk.sh": (BASH, xpk),
    "skypilot.yaml": ("", skypilot),
    "slurm.sbatch": (BASH, slurm),
    "tpu_vm.env": ("# shellcheck shell=bash disable=SC2034\n", tpu_vm),
}


def generate(spec: dict[str, Any]) -> dict[str, str]:
    """Returns the text of each file, by its name."""
    note = "# Written by launch/generate.py. Change the spec and run it again; do not edit this.\n"
    return {name: above + note + write(spec) for name, (above, write) in FILES.items()}


def main() -> None:
    """Command line. Exits 2 with one line where the spec cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--spec", type=Path, default=HERE / "spec.yaml", metavar="FILE")
    parser.add_argument("--out", type=Path, default=HERE / "generated", metavar="DIR")
    flags = parser.parse_args()
    try:
        files = generate(read(flags.spec))
    except (OSError, ValueError, yaml.YAMLError) as error:
        print(f"generate: {flags.spec}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    flags.out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (flags.out / name).write_text(text)


if __name__ == "__main__":
    main()
