"""A place that cannot be used is refused in one line, before anything is read or written."""

from pathlib import Path

import pytest

from jaxvl import api, paths
from jaxvl.cli import common, convert, evaluate, explain, export, negatives, prepare, soup, sweep
from jaxvl.cli import train as train_command
from jaxvl.errors import UserError
from jaxvl.validate import validate

COMMANDS = {
    train_command: [["--config=coco_softmask:demo"], "--workdir"],
    evaluate: [["--workdir=runs/x"], "--out", "--data", "--annotations", "--images", "--against"],
    explain: [["--workdir=x", "--image=a", "--text=http://a", "--out=b"], "--image", "--out"],
    export: [["--workdir=x", "--format=torch", "--out=b"], "--out", "--workdir"],
    convert: [["--from=x", "--out=b"], "--from", "--out"],
    negatives: [["--data=x", "--out=b"], "--data", "--out"],
    prepare: [["folder", "--captions=x", "--out=b"], "--images", "--captions", "--out"],
    soup: [["--a=x", "--b=y", "--out=z"], "--a", "--b", "--out"],
    sweep: [["--table=ahnpl"], "--out"],
}


@pytest.mark.parametrize(
    "command, given, flag",
    [(command, given, flag) for command, (given, *flags) in COMMANDS.items() for flag in flags],
)
def test_every_flag_that_names_a_place(command, given, flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        command.main([*given, f"{flag}=ftp://host/place"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"jaxvl: {flag}=ftp://host/place: ftp:// is not supported")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "key, value, named",
    [
        ("data.dir", "ftp://h/d", "ftp://h/d"),
        ("data.tokenizer", "ftp://h/t", "ftp://h/t"),
        ("data.negatives", "ftp://h/n", "ftp://h/n"),
        ("data.mixture", (("here", 1.0), ("ftp://h/m", 1.0)), "ftp://h/m"),
        ("model.init", "vit, ftp://h/bert", "ftp://h/bert"),
        ("evals.aro_order", {"annotations": "ftp://h/a", "images": "i"}, "ftp://h/a"),
    ],
)
def test_every_key_that_names_a_place(tiny_config, key, value, named):
    with tiny_config.unlocked():
        group, _, last = key.rpartition(".")
        tiny_config[group][last] = value
    with pytest.raises(UserError, match=rf"config: {key}.*={named}: ftp:// is not supported"):
        validate(tiny_config, devices=8, processes=1)


def test_the_python_interface(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="ftp:// is not supported"):
        api.train(tiny_config, "ftp://host/run")
    with pytest.raises(UserError, match="ftp:// is not supported"):
        api.load("ftp://host/run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["a:b", "a/b://c", "C:/x", "/gs:/x", "my.py:/data"])
def test_names_of_folders_are_left_alone(place):
    assert paths.of(place) == Path(place)


def test_what_pathlib_makes_of_a_bucket_makes_no_folder(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="gs://"):
        paths.of(Path("gs://bucket/run"))


def test_a_bucket_whose_library_is_missing_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(paths.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"gs://b/run needs gcsfs: pip install 'jaxvl\[gcs\]'"):
        paths.of("gs://b/run")
    with pytest.raises(UserError, match=r"s3://b/data needs s3fs: pip install 'jaxvl\[s3\]'"):
        paths.of("s3://b/data")


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_command_that_writes_a_folder_writes_it_on_this_machine(scheme, capsys):
    for command, arguments in (
        (prepare, ["scenes"]),
        (convert, ["--from=x"]),
        (sweep, ["--table=ahnpl"]),
    ):
        with pytest.raises(SystemExit):
            command.main([*arguments, f"--out={scheme}://bucket/x"])
        said = capsys.readouterr().err
        assert f"--out={scheme}://bucket/x: {scheme}:// is not supported here" in said


def test_what_a_bucket_answers_is_one_line(capsys):
    of_gcsfs = type("HttpError", (Exception,), {"__module__": "gcsfs.retry"})
    with pytest.raises(SystemExit), common.mistakes_in_one_line():
        raise of_gcsfs("Anonymous caller does not have access\nand more")
    assert capsys.readouterr().err == (
        "jaxvl: the bucket cannot be used (Anonymous caller does not have access)\n"
    )
