"""launch/generate.py writes all files of launch/generated from one spec, and refuses a bad one."""

import shlex
import subprocess
import sys

import pytest
import yaml
from clusters import ROOT

LAUNCH = ROOT / "launch"


def generate(spec, out):
    command = [sys.executable, LAUNCH / "generate.py", f"--spec={spec}", f"--out={out}"]
    return subprocess.run(command, capture_output=True, text=True)


def train_flags(words):
    return words[words.index("--distributed") + 1 :]


def test_the_committed_files_are_what_the_committed_spec_gives(tmp_path):
    assert generate(LAUNCH / "spec.yaml", tmp_path).returncode == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (LAUNCH / "generated").iterdir()}
    assert written == committed  # else: python launch/generate.py


def test_all_start_the_same_run_and_ask_for_the_same_slice(generated, spec):
    jobset, sky = (
        yaml.safe_load((generated / name).read_text()) for name in ("jobset.yaml", "skypilot.yaml")
    )
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    xpk = shlex.split((generated / "xpk.sh").read_text(), comments=True)
    [command] = [word.removeprefix("--command=") for word in xpk if word.startswith("--command=")]
    slurm = shlex.split((generated / "slurm.sbatch").read_text(), comments=True)
    vm = subprocess.run(
        ["bash", "-c", 'source "$0"; printf "%s\n" "${FLAGS[@]}"', generated / "tpu_vm.env"],
        capture_output=True,
        text=True,
    )
    flags = [f"--config={spec['config']}", f"--config.data.dir={spec['data']}"]
    flags.append(f"--workdir={spec['workdir']}")
    assert train_flags(container["command"]) == flags
    assert train_flags(shlex.split(sky["run"])) == flags
    assert train_flags(shlex.split(command)) == flags
    assert slurm[slurm.index("launch/slurm.sh") + 1 : -1] == flags
    assert vm.stdout.splitlines() == flags
    assert job["parallelism"] == job["completions"] == 2
    assert "--tpu-type=v4-16" in xpk
    assert sky["resources"]["accelerators"] == "tpu-v4-16"
    assert "ACCELERATOR=v4-16" in (generated / "tpu_vm.env").read_text()


@pytest.mark.parametrize(
    "key, value, error",
    [
        ("nmae", "x", "nmae is not a key"),
        ("name", "A run", "name: takes at most 39 of a-z, 0-9 and -, and begins with a letter"),
        ("restarts", "many", "restarts: 'many' is not a number above 0"),
        ("flags", ["batch_size=8"], "flags: takes a list of flags"),
        ("tpu", {}, "tpu.slice is missing"),
        ("tpu", {"slice": "v9:4x4"}, "tpu.slice: v9:4x4 is not like v5e:4x4"),
        ("tpu", {"slice": "v5p:4x4"}, "tpu.slice: a topology of v5p has 3 sides"),
        ("tpu", {"slice": "v5e:3x3"}, "tpu.slice: there are no slices of 9 chips"),
        ("gpu", {"nodes": 0}, "gpu.nodes: 0 is not a number above 0"),
    ],
)
def test_a_spec_that_cannot_be_used_is_refused_in_one_line(key, value, error, tmp_path):
    spec = yaml.safe_load((LAUNCH / "spec.yaml").read_text())
    spec[key] = {**spec[key], **value} if value and isinstance(value, dict) else value
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    done = generate(tmp_path / "spec.yaml", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith(f"generate: {tmp_path / 'spec.yaml'}: {error}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
