"""The run that the tests of launch/ start on each kind of cluster."""

import subprocess
import sys

import pytest
import yaml
from clusters import ROOT
from toy_runs import write_config


@pytest.fixture
def spec(toy_config, tmp_path):
    """launch/spec.yaml for a run of the toy on two hosts, which takes some seconds."""
    toy_config.total_steps = 300
    toy_config.checkpoint.every_steps = 50
    toy_config.log.every_steps = 1
    spec = yaml.safe_load((ROOT / "launch" / "spec.yaml").read_text())
    config = write_config(toy_config, tmp_path / "experiment.py")
    spec.update(config=str(config), data=toy_config.data.dir, workdir=str(tmp_path / "a run"))
    spec["tpu"]["slice"] = "v4:2x2x2"
    spec["gpu"]["nodes"] = 2
    return spec


@pytest.fixture
def generated(spec, tmp_path):
    """The folder with the files that launch/generate.py writes for this run."""
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    command = [sys.executable, ROOT / "launch" / "generate.py"]
    flags = [f"--spec={tmp_path / 'spec.yaml'}", f"--out={tmp_path / 'generated'}"]
    subprocess.run([*command, *flags], check=True)
    return tmp_path / "generated"
