"""The command line: help at once, a mistake is one line and exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOOD = "from jaxvl.config import base\n\n\ndef get_config(arg=''):\n    return base()\n"


def run(*arguments, directory):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "jaxvl.main", *arguments],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_and_flags_need_neither_jax_nor_tensorflow(tmp_path):
    program = (
        "import sys; sys.argv = ['main', '--help']\n"
        "import runpy\n"
        "try: runpy.run_module('jaxvl.main', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({'jax', 'tensorflow', 'torch', 'flax'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--workdir" in done.stdout and done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--config=FILE.py is missing"),
        (["--config=absent.py"], "absent.py"),
        (["--config=good.py", "--config.batch_sise=3"], "batch_sise"),
        (["--config=good.py", "--config.optim.momentum=3"], "optim.momentum"),
        (["--config=good.py", "--config.total_steps=many"], "total_steps"),
        (["--config=good.py", "--wrokdir=x"], "wrokdir"),
        (["--config=broken.py"], "broken.py"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(tmp_path, arguments, message):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    done = run(*arguments, directory=tmp_path)
    assert done.returncode == 2, done
    assert message in done.stderr
    assert done.stderr.startswith("jaxvl: ") and done.stderr.count("\n") == 1, done.stderr


def test_what_the_configuration_cannot_do_is_one_line_and_leaves_no_directory(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    done = run("--config=good.py", "--config.batch_size=7", directory=tmp_path)
    assert done.returncode == 2, done
    assert "momentum.queue_size=65536 is not divided by batch_size=7" in done.stderr
    assert done.stderr.startswith("jaxvl: ") and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_default_working_directory_is_named_after_the_experiment(tmp_path):
    program = (
        "from absl import flags; from jaxvl.cli import train as main\n"
        "main.parse(['main', '--config=good.py:small'])\n"
        "print(main._default_workdir())\n"
    )
    (tmp_path / "good.py").write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "runs/good_small"
