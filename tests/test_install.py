"""A wheel holds the experiments, and a program installed from it finds them outside a clone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import json, sys
import jaxvl
from jaxvl.cli import shipped, sweep, train
experiments = {name: train.read_config(name, []).method for name in sys.argv[1:]}
tables = {name: list(sweep.load_table(name).rows) for name in shipped.names(shipped.TABLES)}
print(json.dumps({"file": jaxvl.__file__, "experiments": experiments, "tables": tables}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with jaxvl as `pip install` of its wheel leaves it."""
    directory = tmp_path_factory.mktemp("wheel")
    source, wheels, target = directory / "source", directory / "wheels", directory / "site"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("jaxvl", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["--no-deps", "--no-build-isolation", "--wheel-dir", wheels, source]
    subprocess.run([*pip, "wheel", *build], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    return target


def test_experiments_and_tables_are_found_by_name_and_a_copy_finds_what_it_imports(
    installed, tmp_path
):
    shutil.copy(ROOT / "configs" / "coco_softmask_ahnpl.py", tmp_path / "copied.py")
    names = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names, "coco_ahnpl:demo,clip", "copied.py:demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["file"] == str(installed / "jaxvl" / "__init__.py")
    assert found["experiments"]["coco_ahnpl:demo,clip"] == "clip"
    assert found["experiments"]["copied.py:demo"] == "softmask_ahnpl"
    assert set(found["tables"]) == {"ahnpl", "ahnpl_finetune", "softmask"}


def test_the_templates_of_pages_are_there(installed):
    names = {path.name for path in (ROOT / "jaxvl" / "templates").iterdir()}
    assert names and {path.name for path in (installed / "jaxvl" / "templates").iterdir()} == names


def test_types_are_declared_and_the_table_of_chips_is_there(installed):
    assert (installed / "jaxvl" / "py.typed").exists()
    assert (installed / "jaxvl" / "plan" / "chips.toml").exists()
