"""launch/generated/jobset.yaml, with a stand-in for GKE, and what goes into the image."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from clusters import (
    ROOT,
    STAND_INS,
    environment,
    free_port,
    has_checkpoint,
    serve_metadata,
    wait_until,
    write_python,
)
from toy_runs import lines

sys.path.insert(0, str(STAND_INS))
import jobset

slow = pytest.mark.slow


@pytest.fixture
def manifest(generated):
    return yaml.safe_load((generated / "jobset.yaml").read_text())


@pytest.fixture
def host(tmp_path):
    """The environment of a pod, in which `python` trains the toy."""
    write_python(tmp_path / "bin" / "python")
    more = {"TPU_HOST": "yes", "GCE_METADATA_IP": serve_metadata({"tpu-env": ""})}
    return environment(tmp_path, JAX_COORDINATOR_PORT=str(free_port()), **more)


def container(manifest):
    [job] = manifest["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]["containers"][0]


@slow
def test_a_pod_that_is_preempted_starts_all_again_and_the_run_is_finished(manifest, host, tmp_path):
    cluster = jobset.Cluster(manifest, host)
    cluster.start()
    wait_until(lambda: has_checkpoint(tmp_path / "a run"))
    cluster.pods[1].terminate()  # its node is taken away: kubelet sends SIGTERM
    assert cluster.run() == "Completed"
    assert cluster.codes == [[75, 75], [0, 0]]
    assert [line["step"] for line in lines(tmp_path / "a run")] == list(range(1, 301))


@slow
def test_a_run_that_is_refused_fails_at_once(manifest, host):
    container(manifest)["command"].append("--config.no_such_key=1")
    manifest["spec"]["failurePolicy"]["maxRestarts"] = 1
    cluster = jobset.Cluster(manifest, host)
    cluster.start()
    assert cluster.run() == "Failed"
    assert len(cluster.codes) == 1 and 2 in cluster.codes[0]


def test_a_crash_restarts_as_often_as_the_spec_says(manifest, host):
    container(manifest)["command"] = ["sh", "-c", 'exit "$TPU_WORKER_ID"']
    manifest["spec"]["failurePolicy"]["maxRestarts"] = 3
    cluster = jobset.Cluster(manifest, host)
    cluster.start()
    assert cluster.run() == "Failed"
    assert len(cluster.codes) == 4


def test_the_pods_ask_for_the_slice_of_the_spec():
    manifest = yaml.safe_load((ROOT / "launch" / "generated" / "jobset.yaml").read_text())
    [job] = manifest["spec"]["replicatedJobs"]
    job = job["template"]["spec"]
    assert job["parallelism"] == 4
    assert job["template"]["spec"]["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert container(manifest)["resources"]["limits"] == {"google.com/tpu": 4}


def test_the_image_gets_the_package_and_its_experiments_and_nothing_else():
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert allowed[1] == "*"  # first of all, nothing
    named = {line[1:] for line in allowed if line.startswith("!")}
    assert named == {"pyproject.toml", "setup.py", "README.md", "LICENSE", "jaxvl", "configs"}
    tracked = subprocess.run(["git", "ls-files", *named], cwd=ROOT, capture_output=True, text=True)
    assert named <= {line.partition("/")[0] for line in tracked.stdout.splitlines()}


def test_the_image_installs_extras_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    text = (ROOT / "Dockerfile").read_text()
    named = re.findall(r"--extra (\w+)", text) + re.findall(r"EXTRA=(\w+)", text)
    assert set(named) == {"gcs", "tpu", "cuda"} and set(named) <= set(extras)


def test_the_image_does_not_run_as_root():
    instructions = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in instructions if line.startswith("USER ")]
    assert users and users[-1].isdigit() and users[-1] != "0"
