"""The command line that prepares data sets."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from jaxvl.cli import prepare
from jaxvl.data import scenes, sources, store


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jaxvl", "prepare", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def photos(tmp_path):
    """--images and --captions of four good images."""
    images = tmp_path / "images"
    images.mkdir()
    lines = []
    for i in range(4):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(images / f"{i}.jpg")
        lines.append(json.dumps({"file_name": f"{i}.jpg", "text": f"number {i}"}))
    (images / "metadata.jsonl").write_text("\n".join(lines))
    return ["--images", str(images), "--captions", str(images / "metadata.jsonl")]


def test_importing_it_imports_neither_tensorflow_nor_torch():
    code = (
        "import sys; from jaxvl.cli import prepare; prepare._parser(); "
        "print([m for m in ('tensorflow', 'torch', 'jax') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_folder_end_to_end(photos, tmp_path, capsys):
    out = tmp_path / "out"
    prepare.main(["folder", *photos, "--out", str(out), "--val_share", "0.25", "--workers", "1"])
    assert capsys.readouterr().out.startswith("read 4 records, left out 0, wrote train 3, val 1 to")
    assert sources.open_prepared(out, split="val").num_examples == 1


def test_scenes_end_to_end_and_again(tmp_path, capsys):
    arguments = ["scenes", "--out", str(tmp_path / "out"), "--train", "6", "--eval", "2"]
    arguments += ["--size", "32", "--seed", "3", "--workers", "1"]
    prepare.main(arguments)
    meta = store.read_meta(tmp_path / "out")
    assert meta["splits"] == {"train": 6, "val": 2, "test": 2, "unseen": 2}
    assert meta["kind"] == "scenes" and meta["seed"] == 3 and meta["size"] == 32
    assert meta["level"] == 3
    source = sources.open_prepared(tmp_path / "out", split="unseen")
    assert all(len(each["captions"]) == 5 for each in sources.annotations(source))

    before = (tmp_path / "out" / "jaxvl.json").stat().st_mtime_ns
    capsys.readouterr()
    prepare.main(arguments)
    assert "already prepared" in capsys.readouterr().out
    assert (tmp_path / "out" / "jaxvl.json").stat().st_mtime_ns == before

    for other in (["--seed", "4"], ["--level", "2"]):
        with pytest.raises(SystemExit, match="2"):
            prepare.main([*arguments, *other])
        assert "exists and is not this data set" in capsys.readouterr().err


def test_scenes_of_a_level(tmp_path, capsys):
    arguments = ["scenes", "--out", str(tmp_path / "out"), "--train", "2", "--eval", "2"]
    arguments += ["--size", "32", "--seed", "3", "--workers", "1", "--level", "1"]
    prepare.main(arguments)
    assert store.read_meta(tmp_path / "out")["level"] == 1
    source = sources.open_prepared(tmp_path / "out", split="train")
    expected = [scenes.record(k, split="train", size=32, seed=3, level=1) for k in range(2)]
    assert [list(each["captions"]) for each in sources.annotations(source)] == [
        record["captions"] for record in expected
    ]
    capsys.readouterr()
    prepare.main(arguments)
    assert "already prepared" in capsys.readouterr().out


def test_scenes_prepared_before_there_were_levels_are_of_the_default_level(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["scenes", "--out", str(out), "--train", "2", "--eval", "1", "--size", "16"]
    prepare.main([*arguments, "--workers", "1"])
    meta = store.read_meta(out)
    del meta["level"]
    (out / store.META_FILE).write_text(json.dumps(meta))
    prepare.main(arguments)
    assert "already prepared" in capsys.readouterr().out


def test_an_unknown_level_is_refused_with_those_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["scenes", "--out", str(tmp_path / "out"), "--level", "4"])
    assert capsys.readouterr().err == "jaxvl: --level=4 is not one of 1, 2, 3\n"


def test_an_error_is_one_line_and_exit_code_2(tmp_path):
    found = run("folder", "--images", tmp_path, "--captions", tmp_path / "no\n.csv", "--out", "x")
    assert found.returncode == 2
    assert found.stderr.startswith("jaxvl: --captions") and found.stderr.count("\n") == 1


def test_too_much_bad_is_one_line_and_exit_code_2(photos, tmp_path, capsys):
    (tmp_path / "images" / "0.jpg").write_bytes(b"")
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["folder", *photos, "--out", str(tmp_path / "out"), "--workers", "1"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "jaxvl: 1 of 4 records (25.0%) are bad, more than --max_bad 1.0% allows"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--max_bad", "2"], ["--val_share", "-1"], ["--workers", "0"], ["--max_side", "-5"]],
)
def test_values_out_of_range_are_refused(photos, tmp_path, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["folder", *photos, "--out", str(tmp_path / "out"), *arguments])
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_stopped_no_half_data_set_is_left(tmp_path, how):
    arguments = ["scenes", "--out", tmp_path / "out", "--train", "100000", "--size", "32"]
    arguments += ["--workers", "1"]
    running = subprocess.Popen(
        [sys.executable, "-m", "jaxvl", "prepare", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list(tmp_path.glob(".out.partial/*array_record*")):
            assert running.poll() is None
            time.sleep(0.05)
        os.kill(running.pid, how)
        running.wait()
    finally:
        running.kill()
    assert not (tmp_path / "out").exists()
    if how != signal.SIGKILL:  # which leaves no time to clean up; the next run does
        assert list(tmp_path.iterdir()) == []
