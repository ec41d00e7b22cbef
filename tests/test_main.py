"""The commands: help at once, and a mistake is one line, `jaxvl: ...`, with exit code 2."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxvl import __main__ as program
from jaxvl.cli import COMMANDS, train

ROOT = Path(__file__).parents[1]
GOOD = "from jaxvl.config import base\n\n\ndef get_config(arg=''):\n    return base()\n"
HEAVY = {"jax", "flax", "tensorflow", "torch"}


def started(*command, directory):
    """Runs Python in a process of its own, and returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=directory, capture_output=True, text=True
    )


def refused(capsys, call, *arguments):
    """Returns the one line on stderr of a call that exits 2."""
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    printed = capsys.readouterr()
    assert stop.value.code == 2 and not printed.out
    assert printed.err.startswith("jaxvl: ") and printed.err.count("\n") == 1, printed.err
    return printed.err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_comes_at_once_and_reads_alike(tmp_path, name):
    code = (
        f"import sys; sys.argv[1:] = [{name!r}, '--help']\n"
        "from jaxvl.__main__ import main\n"
        "try: main()\n"
        f"finally: print(sorted({HEAVY} & set(sys.modules)))\n"
    )
    before = os.times().children_user
    done = started("-c", code, directory=tmp_path)
    assert done.stdout.startswith(f"usage: jaxvl {name} "), done
    assert done.stdout.endswith("\n[]\n"), done.stdout.splitlines()[-1]
    assert os.times().children_user - before < 2  # seconds of a processor


def test_the_commands_are_listed_each_with_its_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxvl", "--help"])
    program.main()
    shown = capsys.readouterr().out
    for name, line in COMMANDS.items():
        assert f"  {name} " in shown and line in shown


def test_a_command_that_does_not_exist_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxvl", "evalaute"])
    assert "did you mean evaluate?" in refused(capsys, program.main)


@pytest.mark.parametrize(
    "command, message",
    [
        ("evaluate", "--workdir is missing"),
        ("evaluate --workdir", "--workdir needs a value"),
        ("evaluate --workdir x --spilt val", "--spilt is not a flag of jaxvl evaluate"),
        ("evaluate --workdir x --spilt val", "did you mean --split?"),
        ("evaluate --work x", "--work is not a flag"),  # flags are not abbreviated
        ("evaluate --workdir x val", "val belongs to no flag"),
        ("soup --a x", "--b and --out are missing"),
        ("sweep --table ahnpl --jobs many", "--jobs=many: this is not a number"),
        ("sweep --table ahnpl --jobs 0", "--jobs: 0 is not a positive number"),
        ("export --workdir x --out y --format troch", "did you mean torch?"),
        ("export --workdir x --out y --format torch --onnx=1", "--onnx takes no value"),
        ("prepare scenes --out x --trian 3", "did you mean --train?"),
        ("prepare sceens --out x", "did you mean scenes?"),
        ("train --wrokdir=x", "did you mean --workdir?"),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it(capsys, command, message):
    name, *arguments = command.split()
    module = importlib.import_module(f"jaxvl.cli.{name}")
    assert message in refused(capsys, module.main, arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--config is missing"),
        (["--config=absent.py"], "--config=absent.py: there is no such file; by name there are"),
        (["--config=coco_sofmask"], "did you mean coco_softmask?"),
        (["--config=coco_softmask:dmeo"], "--config=coco_softmask:dmeo: there is no dmeo"),
        (["--config=broken.py"], "broken.py: ModuleNotFoundError"),
        (["--config=number.py"], "number.py: get_config() does not return a ConfigDict"),
        (["--config=good.py", "--config.batch_sise=3"], "did you mean batch_size?"),
        (["--config=good.py", "--config.optim.momentum=3"], "no key optim.momentum"),
        (
            ["--config=good.py", "--config.total_steps=many"],
            "total_steps=many: the value is not of",
        ),
        (["--config=good.py", "--config.seed=1", "stray"], "stray belongs to no flag"),
    ],
)
def test_a_wrong_experiment_or_key_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "number.py").write_text("def get_config():\n    return 3\n")
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, train.main, arguments)


def test_what_the_configuration_cannot_do_is_one_line_and_leaves_no_directory(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    flags = ["--config=good.py", "--config.batch_size=7"]
    done = started("-m", "jaxvl.main", *flags, directory=tmp_path)
    assert done.returncode == 2, done
    assert "momentum.queue_size=65536 is not divisible by batch_size=7" in done.stderr
    assert done.stderr.startswith("jaxvl: ") and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "name, directory",
    [
        ("coco_softmask", "runs/coco_softmask"),
        ("configs/coco_softmask.py:demo", "runs/coco_softmask_demo"),
        ("coco_ahnpl:demo,clip", "runs/coco_ahnpl_demo,clip"),
    ],
)
def test_the_default_working_directory_is_named_after_the_experiment(name, directory):
    assert str(train.default_workdir(name)) == directory
