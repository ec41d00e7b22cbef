"""A user's images by CSV and by webdataset tars."""

import csv
import io
import json
import tarfile

import pytest
from photo_folder import encoded, fill, noise, prepare, report, stored

from jaxvl.data import store
from jaxvl.errors import UserError

# --- CSV


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_csv_rows_of_one_file_merge(tmp_path):
    fill(tmp_path / "images", ["a.jpg", "b.jpg"])
    rows = [
        ["file_name", "caption", "split"],
        ["a.jpg", "one, with a comma", "train"],
        ["b.jpg", "other", "train"],
        ["./a.jpg", "two", "train"],
    ]
    summary = prepare(tmp_path, write_csv(tmp_path / "c.csv", rows))
    assert stored(tmp_path)["a.jpg"]["captions"] == ["one, with a comma", "two"]
    assert summary.startswith("read 2 records, left out 0")


def test_a_csv_cell_may_hold_a_list(tmp_path):
    fill(tmp_path / "images", ["a.jpg"])
    rows = [["file_name", "captions"], ["a.jpg", '["one", "two"]']]
    prepare(tmp_path, write_csv(tmp_path / "c.csv", rows), val_share=0)
    assert stored(tmp_path)["a.jpg"]["captions"] == ["one", "two"]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("a.jpg,more, than two", "more or fewer cells"),
        ("b.jpg", "more or fewer cells"),
        (",nameless", "not a file name"),
        ("../x.jpg,out", "the path leaves the folder"),
        ("b.jpg,", "empty caption"),
    ],
)
def test_csv_rows_that_cannot_be_used(tmp_path, line, reason):
    fill(tmp_path / "images", ["a.jpg"])
    captions = tmp_path / "c.csv"
    captions.write_text(f"file_name,text\na.jpg,fine\n{line}\n")
    prepare(tmp_path, captions, val_share=0)
    (problem,) = report(tmp_path)
    assert problem["reason"].startswith(reason)
    assert list(stored(tmp_path)) == ["a.jpg"]


def test_one_file_in_two_splits_of_a_csv(tmp_path):
    fill(tmp_path / "images", ["a.jpg"])
    rows = [["file_name", "text", "split"], ["a.jpg", "x", "train"], ["a.jpg", "y", "val"]]
    prepare(tmp_path, write_csv(tmp_path / "c.csv", rows))
    assert report(tmp_path)[0]["reason"] == "file_name appears in split 'train' already"


@pytest.mark.parametrize(
    "text, message",
    [
        ("image,comment\na.jpg,x\n", "columns are 'image', 'comment', .*; needed: file_name"),
        ("", "columns are missing"),
        ('file_name,text\na.jpg,"never closed\nb.jpg,x\n', "not CSV"),
    ],
)
def test_a_csv_that_cannot_be_read_at_all(tmp_path, text, message):
    (tmp_path / "images").mkdir()
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, tmp_path / "c.csv")


# --- webdataset tars


def add(tar, name, content, **changes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in changes.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def write_tar(path, first_seed=0):
    """Two good records, one with .txt and one with .json; returns the tar, still open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tar = tarfile.open(path, "w")
    add(tar, "000.jpg", encoded(noise(first_seed)))
    add(tar, "000.txt", b"image nought\n")
    add(tar, "dir/001.json", json.dumps({"captions": ["one", "uno"]}).encode())
    add(tar, "dir/001.txt", b"not this")
    add(tar, "dir/001.png", encoded(noise(first_seed + 1), "PNG"))
    add(tar, "000.cls", b"7")
    add(tar, "._000.jpg", b"a file system's dropping")
    return tar


def test_tars_alone_together_and_by_pattern(tmp_path):
    for i in range(2):
        write_tar(tmp_path / "tars" / f"shard-{i}.tar", first_seed=2 * i).close()
    names = ["shard-0.tar/000.jpg", "shard-0.tar/dir/001.png"]
    for i, (captions, count) in enumerate(
        [
            (tmp_path / "tars" / "shard-0.tar", 2),
            (tmp_path / "tars", 4),
            (f"{tmp_path}/tars/*-?.tar", 4),
        ]
    ):
        prepare(tmp_path, captions, images=None, val_share=0, out=tmp_path / f"out{i}")
        assert store.read_meta(tmp_path / f"out{i}")["splits"] == {"train": count}
    prepare(tmp_path, tmp_path / "tars" / "shard-0.tar", images=None, val_share=0)
    found = stored(tmp_path)
    assert sorted(found) == names and report(tmp_path) == []
    assert found[names[0]]["captions"] == ["image nought"]
    assert found[names[1]]["captions"] == ["one", "uno"]
    assert found[names[0]]["image"] == encoded(noise(0))


@pytest.mark.parametrize(
    "members, reason",
    [
        ([("x.txt", b"no image")], "no image for a key"),
        ([("x.jpg", encoded(noise(5)))], "no captions"),
        ([("x.jpg", b""), ("x.txt", b"x")], "empty file"),
        ([("x.jpg", encoded(noise(5))), ("x.png", b"1"), ("x.txt", b"x")], "more than one image"),
        ([("x.jpg", encoded(noise(5))), ("x.txt", b" \n")], "empty caption"),
        ([("x.jpg", encoded(noise(5))), ("x.txt", b"\xff\xfd")], "not valid Unicode"),
        ([("x.jpg", encoded(noise(5))), ("x.json", b"[1]")], "its .json is not a JSON object"),
        (
            [("x.jpg", encoded(noise(5))), ("x.txt", b"x" * (2**20 + 1))],
            "its text is larger than",
        ),
        ([("README", b"hello")], "no extension"),
        ([("../../evil.jpg", encoded(noise(5)))], "the path leaves the folder"),
        ([("/etc/evil.jpg", encoded(noise(5)))], "the path leaves the folder"),
        ([("000.jpg", encoded(noise(5)))], "duplicate .jpg for one key"),
    ],
)
def test_tar_members_that_are_no_record(tmp_path, members, reason):
    with write_tar(tmp_path / "x.tar") as tar:
        for name, content in members:
            add(tar, name, content)
    prepare(tmp_path, tmp_path / "x.tar", images=None, val_share=0)
    (problem,) = report(tmp_path)
    assert problem["reason"].startswith(reason) and problem["left_out"]
    assert len(stored(tmp_path)) == 2


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_pipes_in_a_tar_are_not_followed(tmp_path, kind):
    with write_tar(tmp_path / "x.tar") as tar:
        add(tar, "x.jpg", b"", type=kind, linkname="/etc/passwd")
    prepare(tmp_path, tmp_path / "x.tar", images=None, val_share=0)
    assert report(tmp_path)[0]["reason"] == "not a regular file (links are not followed)"


def test_a_truncated_tar_is_never_silently_smaller(tmp_path):
    write_tar(tmp_path / "x.tar").close()
    content = (tmp_path / "x.tar").read_bytes()
    second = content.index(b"dir/001.json")
    for cut in (second, second + 100):
        (tmp_path / "x.tar").write_bytes(content[:cut])
        prepare(tmp_path, tmp_path / "x.tar", images=None, val_share=0, out=tmp_path / f"out{cut}")
        problems = (tmp_path / f"out{cut}.report.jsonl").read_text()
        assert "the tar is damaged or truncated here" in problems


def test_a_damaged_header_in_the_middle_of_a_tar_is_noticed(tmp_path):
    write_tar(tmp_path / "x.tar").close()
    content = bytearray((tmp_path / "x.tar").read_bytes())
    content[content.index(b"dir/001.json") + 5] ^= 1  # the header's checksum is wrong now
    (tmp_path / "x.tar").write_bytes(content)
    prepare(tmp_path, tmp_path / "x.tar", images=None, val_share=0)
    assert "the tar is damaged or truncated here" in report(tmp_path)[0]["reason"]


def test_a_compressed_or_foreign_tar_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + b"no tar" * 200)
    with pytest.raises(UserError, match="x.tar: not a readable tar file"):
        prepare(tmp_path, tmp_path / "x.tar", images=None)
