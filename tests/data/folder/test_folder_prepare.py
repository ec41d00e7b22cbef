"""A user's folder: every kind of bad record is named and left out; the work as a whole."""

import os
import struct
import zlib

import pytest
from photo_folder import (
    encoded,
    fill,
    noise,
    prepare,
    prepare_one_bad,
    report,
    stored,
    write_jsonl,
)
from PIL import Image

from jaxvl.data import store
from jaxvl.data.folder import prepare as folder
from jaxvl.errors import UserError

# --- records that are left out


def png_header(width, height):
    """A PNG that claims a size, and has next to nothing behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b"not an image at all, but text" * 9, "not an image"),
        (encoded(noise(9, (64, 64)))[:700], "truncated or damaged"),
        (encoded(noise(9, (64, 64)), "PNG")[:700], "truncated or damaged"),
        (png_header(20_000, 20_000), "decompression bomb: more than 100 megapixels"),
        (png_header(10_001, 10_000), "decompression bomb: more than 100 megapixels"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "PostScript is not read (convert it to JPEG or PNG)",
        ),
        (
            encoded(Image.new("F", (4, 4)), "TIFF"),
            "floating-point pixels: their range is unknown (0 to 0); convert it to 8 bits",
        ),
    ],
    ids="empty text cut-jpeg cut-png bomb just-over eps float".split(),
)
def test_files_that_are_no_usable_image(tmp_path, content, reason):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.jpg").write_bytes(content)
    problem = prepare_one_bad(tmp_path, {"file_name": "bad.jpg", "text": "x", "split": "train"})
    assert problem["reason"] == reason and problem["path"] == "bad.jpg"


@pytest.mark.parametrize(
    "file_name, reason",
    [
        ("nowhere.jpg", "missing file"),
        ("../secret.jpg", "the path leaves the folder"),
        ("sub/../../secret.jpg", "the path leaves the folder"),
        ("ABSOLUTE", "the path leaves the folder"),
        ("link.jpg", "a link out of the folder"),
        ("linked/secret.jpg", "a link out of the folder"),
        ("sub", "not a regular file"),
        ("pipe", "not a regular file"),
        ("", "not a file name"),
        ("a\0.jpg", "not a file name"),
    ],
)
def test_paths_that_lead_elsewhere_or_nowhere(tmp_path, file_name, reason):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encoded(noise(8)))
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    (images / "link.jpg").symlink_to(secret)
    (images / "linked").symlink_to(tmp_path)
    os.mkfifo(images / "pipe")
    file_name = str(secret) if file_name == "ABSOLUTE" else file_name
    problem = prepare_one_bad(tmp_path, {"file_name": file_name, "text": "x", "split": "train"})
    assert problem["reason"] == reason


def test_a_link_within_the_folder_is_followed(tmp_path):
    lines = fill(tmp_path / "images", ["a.jpg", "b.jpg"])
    (tmp_path / "images" / "c.jpg").symlink_to(tmp_path / "images" / "a.jpg")
    lines.append({**lines[0], "file_name": "c.jpg"})
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert sorted(stored(tmp_path)) == ["a.jpg", "b.jpg", "c.jpg"]
    assert "kept 1: copy of another image in the same split" in summary


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"text": ""}, "empty caption"),
        ({"text": " \n"}, "empty caption"),
        ({"text": "...?!"}, "empty caption"),
        ({"captions": []}, "empty caption"),
        ({"captions": ["", " "]}, "empty caption"),
        ({}, "no captions (field text or captions)"),
        ({"text": 7}, "captions are not text"),
        ({"captions": ["fine", None]}, "captions are not text"),
        ({"text": "half a pair \ud83d"}, "not valid Unicode text (save the table as UTF-8)"),
        (
            {"text": "x", "split": "../../etc"},
            "split is not a name of small letters, digits and _ ('../../etc')",
        ),
        (
            {"text": "['one', 'two'"},
            "captions look like a list that cannot be read (as JSON or of Python)",
        ),
        ({"text": "x", "split": None}, "no split, while other records have one"),
    ],
)
def test_captions_and_splits_that_cannot_be_used(tmp_path, fields, reason):
    fill(tmp_path / "images", ["d.jpg"], first_seed=7)
    line = {"file_name": "d.jpg", "split": "train", **fields}
    assert prepare_one_bad(tmp_path, line)["reason"] == reason


@pytest.mark.parametrize(
    "line", ['{"file_name": "a.jpg", ', "[]", '{"text": "x"}', "\x00", "[" * 9999]
)
def test_lines_that_are_no_record(tmp_path, line):
    reason = prepare_one_bad(tmp_path, line)["reason"]
    assert reason.startswith("not a JSON object with a file_name")


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg"])
def test_a_file_name_that_came_before(tmp_path, again):
    problem = prepare_one_bad(tmp_path, {"file_name": again, "text": "x", "split": "train"})
    assert problem["reason"] == "duplicate file_name (first in metadata.jsonl:1)"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_an_image_in_two_splits_stays_in_the_evaluation_split(tmp_path, kind):
    """Whatever the file format: the pixels are compared."""
    lines = fill(tmp_path / "images", ["a.jpg", "b.jpg"])
    same = Image.open(tmp_path / "images" / "a.jpg")
    content = (
        (tmp_path / "images" / "a.jpg").read_bytes() if kind == "JPEG" else encoded(same, kind)
    )
    (tmp_path / "images" / "v").write_bytes(content)
    lines.append({"file_name": "v", "text": "again", "split": "val"})
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert sorted(stored(tmp_path)) == ["b.jpg"] and sorted(stored(tmp_path, "val")) == ["v"]
    (problem,) = report(tmp_path)
    assert problem["path"] == "a.jpg"
    assert problem["reason"] == "duplicate image in two splits (here train, kept in val as v)"
    assert "left out 1: duplicate image in two splits: a.jpg" in summary


def test_between_two_evaluation_splits_the_first_stays(tmp_path):
    lines = fill(tmp_path / "images", ["a.jpg", "t.jpg"])
    (tmp_path / "images" / "v.jpg").write_bytes((tmp_path / "images" / "t.jpg").read_bytes())
    lines[1]["split"] = "test"
    lines.append({"file_name": "v.jpg", "text": "x", "split": "validation"})
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert store.read_meta(tmp_path / "out")["splits"] == {"train": 1, "test": 1}
    assert report(tmp_path)[0]["path"] == "v.jpg"


def test_an_empty_caption_among_others_costs_the_caption_not_the_image(tmp_path):
    lines = fill(tmp_path / "images", ["a.jpg"])
    lines[0] = {"file_name": "a.jpg", "captions": ["one", "", "two"], "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert stored(tmp_path)["a.jpg"]["captions"] == ["one", "two"]
    assert [problem["left_out"] for problem in report(tmp_path)] == [False]


# --- how many bad records are allowed


def test_above_max_bad_nothing_is_written_and_all_is_named(tmp_path):
    lines = fill(tmp_path / "images", [f"{i}.jpg" for i in range(9)])
    lines.append({"file_name": "gone.jpg", "text": "x", "split": "train"})
    captions = write_jsonl(tmp_path / "m.jsonl", lines)
    with pytest.raises(UserError) as raised:
        prepare(tmp_path, captions, max_bad=0.09)
    assert "1 of 10 records (10.0%) are bad, more than --max_bad 9.0%" in str(raised.value)
    assert "nothing was written. 1 missing file. Each is named in" in str(raised.value)
    assert report(tmp_path)[0]["path"] == "gone.jpg"
    assert not (tmp_path / "out").exists()
    prepare(tmp_path, captions, max_bad=0.1)
    assert store.read_meta(tmp_path / "out")["splits"] == {"train": 9}


def test_nothing_but_bad_records_is_never_a_data_set(tmp_path):
    (tmp_path / "images").mkdir()
    captions = write_jsonl(tmp_path / "m.jsonl", [{"file_name": "gone.jpg", "text": "x"}])
    with pytest.raises(UserError, match="1 of 1 records"):
        prepare(tmp_path, captions, max_bad=1.0)


def test_a_clean_run_leaves_no_report(tmp_path):
    (tmp_path / "out.report.jsonl").write_text("of an earlier run\n")
    lines = fill(tmp_path / "images", ["a.jpg"])
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    first, texts = summary.splitlines()
    assert first == f"read 1 records, left out 0, wrote train 1 to {tmp_path / 'out'}"
    assert texts.startswith("  texts: Latin 100%; words: blanks; 19 pieces of words;")
    assert not (tmp_path / "out.report.jsonl").exists()


# --- the whole


def test_any_number_of_workers_gives_the_same_data_set(tmp_path):
    lines = fill(tmp_path / "images", [f"{i}.jpg" for i in range(40)])
    for i in range(0, 40, 3):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(encoded(noise(i, mode="L"), "PNG"))
    (tmp_path / "images" / "7.jpg").write_bytes(b"")
    captions = write_jsonl(tmp_path / "m.jsonl", lines)
    for workers in (1, 2):
        prepare(tmp_path, captions, workers=workers, out=tmp_path / f"out{workers}")
    one, two = (sorted((tmp_path / f"out{n}").iterdir()) for n in (1, 2))
    assert [path.name for path in one] == [path.name for path in two]
    for a, b in zip(one, two):
        assert a.read_bytes() == b.read_bytes(), a.name
    reports = [(tmp_path / f"out{n}.report.jsonl").read_text() for n in (1, 2)]
    assert reports[0] == reports[1]


def test_a_file_that_changes_in_between_stops_the_writing(tmp_path, monkeypatch):
    lines = fill(tmp_path / "images", ["a.jpg"])
    leaks = folder._without_leaks

    def change(checked):
        (tmp_path / "images" / "a.jpg").write_bytes(encoded(noise(99)))
        return leaks(checked)

    monkeypatch.setattr(folder, "_without_leaks", change)
    with pytest.raises(UserError, match="m.jsonl:1: a.jpg: changed while it was being prepared"):
        prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_refused_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(UserError, match="exists and is not empty"):
        prepare(tmp_path, tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize(
    "captions, images, message",
    [
        ("nowhere.jsonl", "images", "nowhere.jsonl: no such file"),
        ("m.jsonl", "nowhere", "--images .*nowhere: no such folder"),
        ("m.jsonl", None, "--images is needed"),
        ("m.txt", "images", "must end in .*; found: m.txt"),
        ("m.jsonl", "images", "no records in it"),
    ],
)
def test_arguments_that_name_nothing(tmp_path, captions, images, message):
    (tmp_path / "images").mkdir()
    (tmp_path / "m.jsonl").write_text("\n")
    (tmp_path / "m.txt").write_text("x")
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, tmp_path / captions, images=images)
