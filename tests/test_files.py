"""Files are written whole or not at all."""

import errno
import json
import math
import os

import pytest

from jaxvl import files
from jaxvl.errors import UserError


def test_json_that_cannot_be_said_becomes_strings(tmp_path):
    files.write_json(tmp_path / "a.json", {"loss": math.nan, "all": [math.inf, 1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": "nan", "all": ["inf", 1.5]}


@pytest.mark.parametrize(
    "write, content", [(files.write_text, "new 🐕"), (files.write_bytes, b"new")]
)
def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path, monkeypatch, write, content):
    path, seen = tmp_path / "a.txt", []
    path.write_text("old")
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *paths: (seen.append(path.read_text()), replace(*paths))
    )
    write(path, content)
    assert seen == ["old"] and path.read_bytes().startswith(b"new")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path, monkeypatch):
    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"a.txt: cannot be written \(No space left on device\)"):
        files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(UserError, match=r"cannot be written \(No such file or directory\)"):
        files.write_text(tmp_path / "nowhere" / "a.txt", "new")


def test_a_folder_appears_whole(tmp_path):
    with files.written_whole(tmp_path / "out") as partial:
        (partial / "a").write_text("a")
        assert not (tmp_path / "out").exists()
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["a"]


def test_a_folder_whose_making_fails_does_not_appear(tmp_path):
    with pytest.raises(RuntimeError, match="in the middle"):
        with files.written_whole(tmp_path / "out") as partial:
            (partial / "a").write_text("a")
            raise RuntimeError("in the middle")
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_folder_that_meets_a_full_disk_is_a_full_disk(tmp_path, monkeypatch):
    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="out: the disk is full; nothing was written"):
        with files.written_whole(tmp_path / "out") as partial:
            monkeypatch.setattr(os, "replace", full)
            files.write_text(partial / "a", "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_there_already_is_not_overwritten(tmp_path, kind):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("precious")
    elif kind == "folder":
        out.mkdir()
        (out / "a").write_text("precious")
    else:
        out.symlink_to(tmp_path / "nowhere")
    assert files.is_filled(out)
    with pytest.raises(UserError, match="exists and is not empty"):
        with files.written_whole(out):
            pytest.fail("it was begun")
