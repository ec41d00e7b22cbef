"""A user's folder: every kind of bad record named and left out, every kind of image stored."""

import csv
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxvl.data import folder, sources, store, tokenizer
from jaxvl.data.host_tf import tf
from jaxvl.errors import UserError


def picture(seed, size=(12, 10), mode="RGB"):
    """A small image of its own."""
    image = Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    )
    return image.resize(size).convert(mode)


def encoded(image, kind="JPEG", **options):
    stored = io.BytesIO()
    image.save(stored, kind, **options)
    return stored.getvalue()


def fill(images, names, first_seed=0):
    """Good pictures of these names; returns their metadata lines as dicts."""
    images.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names, start=first_seed):
        (images / name).write_bytes(encoded(picture(seed)))
    return [{"file_name": name, "text": f"picture {name[0]}", "split": "train"} for name in names]


def write_jsonl(path, lines):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def prepare(tmp_path, captions, images="images", **changes):
    options = dict(
        images=images and tmp_path / images,
        captions=captions,
        out=tmp_path / "out",
        max_bad=0.99,
        val_share=0.2,
        vocabulary_size=60,
        max_side=0,
        workers=1,
    )
    return folder.prepare(**{**options, **changes})


def report(tmp_path):
    path = tmp_path / "out.report.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stored(tmp_path, split="train"):
    source = sources.open_source(directory=tmp_path / "out", name="", split=split)
    records = sources.annotations(source)
    raw = source.read(np.arange(source.num_examples))
    for record, serialized in zip(records, raw):
        record["image"] = source.parse(tf.constant(serialized))["image"].numpy()
    return {record["file_name"]: record for record in records}


def prepare_one_bad(tmp_path, line):
    """Prepare three good pictures and one bad line; returns the line of the report."""
    good = fill(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    captions = write_jsonl(tmp_path / "metadata.jsonl", [good[0], line, *good[1:]])
    summary = prepare(tmp_path, captions)
    assert sorted(stored(tmp_path)) == ["a.jpg", "b.jpg", "c.jpg"]
    assert summary.startswith("read 4 records, left out 1, wrote train 3 to")
    (problem,) = report(tmp_path)
    assert problem["record"] == "metadata.jsonl:2" and problem["left_out"]
    assert problem["reason"].split(" (")[0].split(":")[0] in summary
    return problem


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
        (b"not a picture at all, but text" * 9, "not an image"),
        (encoded(picture(9, (64, 64)))[:700], "truncated or damaged"),
        (encoded(picture(9, (64, 64)), "PNG")[:700], "truncated or damaged"),
        (png_header(20_000, 20_000), "decompression bomb: more than 100 megapixels"),
        (png_header(10_001, 10_000), "decompression bomb: more than 100 megapixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (
            encoded(Image.new("F", (4, 4)), "TIFF"),
            "floating-point pixels: no telling what is white",
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
    secret.write_bytes(encoded(picture(8)))
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
    assert "kept 1: copy of another picture in the same split" in summary


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
        ({"text": "half a pair \ud83d"}, "not valid Unicode text"),
        ({"text": "x", "split": "../../etc"}, "split is not a name of small letters, digits and _"),
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
    assert prepare_one_bad(tmp_path, line)["reason"] == "not a JSON object with a file_name"


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg"])
def test_a_file_name_that_came_before(tmp_path, again):
    problem = prepare_one_bad(tmp_path, {"file_name": again, "text": "x", "split": "train"})
    assert problem["reason"] == "duplicate file_name (first in metadata.jsonl:1)"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_picture_in_two_splits_stays_in_the_evaluation_split(tmp_path, kind):
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


def test_an_empty_caption_among_others_costs_the_caption_not_the_picture(tmp_path):
    lines = fill(tmp_path / "images", ["a.jpg"])
    lines[0] = {"file_name": "a.jpg", "captions": ["one", "", "two"], "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert stored(tmp_path)["a.jpg"]["captions"] == ["one", "two"]
    assert [problem["left_out"] for problem in report(tmp_path)] == [False]


# --- how much bad is put up with


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
    assert summary == f"read 1 records, left out 0, wrote train 1 to {tmp_path / 'out'}"
    assert not (tmp_path / "out.report.jsonl").exists()


# --- images that are stored


def sixteen_bits():
    return Image.fromarray(np.full((10, 12), 0x8000, np.uint16))


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn right to see it
    image = Image.new("RGB", (12, 10), "black")
    image.paste("white", (0, 0, 6, 10))  # left half white, so shown upright the top half
    return encoded(image, "JPEG", exif=exif, quality=95)


def half_transparent():
    image = Image.new("RGBA", (12, 10), (0, 0, 0, 0))
    return encoded(image, "PNG")


@pytest.mark.parametrize(
    "content, size, colour",
    [
        (encoded(Image.new("CMYK", (12, 10), (255, 0, 0, 0))), (12, 10), (0, 255, 255)),
        (encoded(Image.new("L", (12, 10), 100)), (12, 10), (100, 100, 100)),
        (encoded(Image.new("RGB", (12, 10), "red").convert("P"), "PNG"), (12, 10), (255, 0, 0)),
        (encoded(Image.new("1", (12, 10), 1), "PNG"), (12, 10), (255, 255, 255)),
        (encoded(sixteen_bits(), "PNG"), (12, 10), (128, 128, 128)),
        (half_transparent(), (12, 10), (255, 255, 255)),
        (encoded(Image.new("RGB", (1, 1), "blue")), (1, 1), (0, 0, 255)),
        (encoded(Image.new("RGB", (12, 10), "blue"), "WEBP", lossless=True), (12, 10), (0, 0, 255)),
        (encoded(Image.new("RGB", (12, 10), "blue"), "GIF"), (12, 10), (0, 0, 255)),
        (rotated(), (10, 12), (255, 255, 255)),
    ],
    ids="cmyk grey palette bilevel 16-bit transparent 1x1 webp gif rotated".split(),
)
def test_every_kind_of_image_becomes_upright_rgb_jpeg(tmp_path, content, size, colour):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x").write_bytes(content)
    line = {"file_name": "x", "text": "picture", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]))
    image = Image.open(io.BytesIO(stored(tmp_path)["x"]["image"]))
    assert image.format == "JPEG" and image.mode == "RGB" and image.size == size
    assert image.getexif().get(0x0112, 1) == 1
    np.testing.assert_allclose(image.getpixel((size[0] // 2, 0)), colour, atol=4)
    assert tf.io.decode_jpeg(stored(tmp_path)["x"]["image"]).shape == (*size[::-1], 3)


@pytest.mark.parametrize("progressive", [False, True])
def test_an_upright_rgb_jpeg_keeps_its_bytes(tmp_path, progressive):
    (tmp_path / "images").mkdir()
    content = encoded(picture(0, (64, 48)), quality=70, progressive=progressive)
    (tmp_path / "images" / "a.jpg").write_bytes(content)
    line = {"file_name": "a.jpg", "text": "picture", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]), max_side=64)
    assert stored(tmp_path)["a.jpg"]["image"] == content


def test_max_side_shrinks_what_is_larger(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(encoded(picture(0, (64, 48))))
    line = {"file_name": "a.jpg", "text": "picture", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]), max_side=32)
    assert Image.open(io.BytesIO(stored(tmp_path)["a.jpg"]["image"])).size == (32, 24)


def test_a_jpeg_that_only_pil_can_read_is_stored_anew_and_noted(tmp_path):
    """PIL fills in what a comment in the middle swallows; TensorFlow would stop in training."""
    whole = encoded(picture(3, (160, 160)))
    middle = len(whole) // 2
    hurt = whole[:middle] + b"\xff\xfe\xff\xff" + whole[middle:]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_jpeg(hurt)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(hurt)
    line = {"file_name": "a.jpg", "text": "picture", "split": "train"}
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]))
    assert tf.io.decode_jpeg(stored(tmp_path)["a.jpg"]["image"]).shape == (160, 160, 3)
    assert not report(tmp_path)[0]["left_out"] and "kept 1: slightly damaged: a.jpg" in summary


# --- captions that are stored


def test_emoji_and_ten_thousand_words_are_stored_as_written(tmp_path):
    lines = fill(tmp_path / "images", ["a.jpg", "b.jpg"])
    long, emoji = "word " * 10_000, "🐕 naïve 犬"
    lines[0]["text"], lines[1]["text"] = long, emoji
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    found = stored(tmp_path)
    assert found["a.jpg"]["captions"] == [long] and found["b.jpg"]["captions"] == [emoji]
    tokens = tokenizer.encode(
        tokenizer.load(tmp_path / "out"), [long, emoji], max_tokens=16, max_words=30, add_sep=False
    )
    assert tokens.mask[0].all()


def test_the_tokenizer_is_trained_on_the_captions(tmp_path):
    lines = fill(tmp_path / "images", ["a.jpg"])
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert tokenizer.load(tmp_path / "out").token_to_id("picture") is not None


# --- splits


def test_without_splits_a_share_becomes_val_and_copies_stay_together(tmp_path):
    lines = fill(tmp_path / "images", [f"{i}.jpg" for i in range(10)])
    for i in range(10):
        (tmp_path / "images" / f"{i}copy.jpg").write_bytes(
            (tmp_path / f"images/{i}.jpg").read_bytes()
        )
        lines.append({**lines[i], "file_name": f"{i}copy.jpg"})
    for line in lines:
        del line["split"]
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines), val_share=0.2)
    val = sorted(stored(tmp_path, "val"))
    assert len(val) == 4 and {name[0] for name in val[::2]} == {name[0] for name in val[1::2]}
    first = {name[0] for name in val}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines[::-1]), out=tmp_path / "out2")
    source = sources.open_source(directory=tmp_path / "out2", name="", split="val")
    assert {each["file_name"][0] for each in sources.annotations(source)} == first


def test_the_share_is_drawn_alike_in_every_process():
    code = """
from jaxvl.data.folder import Checked, _with_splits
from jaxvl.data.folder_rows import Row
rows = [Checked(Row("", str(i), (), "", None), b"", bytes([i])) for i in range(40)]
drawn, _ = _with_splits(rows, val_share=0.2)
print([each.row.file_name for each in drawn if each.row.split == "val"])
"""
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]


def test_given_splits_are_kept_and_validation_is_val(tmp_path):
    lines = fill(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    lines[1]["split"], lines[2]["split"] = "validation", "test"
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    splits = store.read_meta(tmp_path / "out")["splits"]
    assert splits == {"train": 1, "val": 1, "test": 1}


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
        ("image,comment\na.jpg,x\n", "columns are image, comment; needed: file_name"),
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
    add(tar, "000.jpg", encoded(picture(first_seed)))
    add(tar, "000.txt", b"picture nought\n")
    add(tar, "dir/001.json", json.dumps({"captions": ["one", "uno"]}).encode())
    add(tar, "dir/001.txt", b"not this")
    add(tar, "dir/001.png", encoded(picture(first_seed + 1), "PNG"))
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
    assert found[names[0]]["captions"] == ["picture nought"]
    assert found[names[1]]["captions"] == ["one", "uno"]
    assert found[names[0]]["image"] == encoded(picture(0))


@pytest.mark.parametrize(
    "members, reason",
    [
        ([("x.txt", b"no image")], "no image for a key"),
        ([("x.jpg", encoded(picture(5)))], "no captions"),
        ([("x.jpg", b""), ("x.txt", b"x")], "empty file"),
        ([("x.jpg", encoded(picture(5))), ("x.png", b"1"), ("x.txt", b"x")], "more than one image"),
        ([("x.jpg", encoded(picture(5))), ("x.txt", b" \n")], "empty caption"),
        ([("x.jpg", encoded(picture(5))), ("x.txt", b"\xff\xfe")], "not valid Unicode"),
        ([("x.jpg", encoded(picture(5))), ("x.json", b"[1]")], "its .json is not a JSON object"),
        (
            [("x.jpg", encoded(picture(5))), ("x.txt", b"x" * (2**20 + 1))],
            "its text is larger than",
        ),
        ([("README", b"hello")], "no extension"),
        ([("../../evil.jpg", encoded(picture(5)))], "the path leaves the folder"),
        ([("/etc/evil.jpg", encoded(picture(5)))], "the path leaves the folder"),
        ([("000.jpg", encoded(picture(5)))], "duplicate .jpg for one key"),
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


def test_a_tar_that_is_cut_off_is_never_silently_smaller(tmp_path):
    write_tar(tmp_path / "x.tar").close()
    content = (tmp_path / "x.tar").read_bytes()
    second = content.index(b"dir/001.json")
    for cut in (second, second + 100):
        (tmp_path / "x.tar").write_bytes(content[:cut])
        prepare(tmp_path, tmp_path / "x.tar", images=None, val_share=0, out=tmp_path / f"out{cut}")
        problems = (tmp_path / f"out{cut}.report.jsonl").read_text()
        assert "the tar is damaged or cut off here" in problems


def test_a_damaged_header_in_the_middle_of_a_tar_is_noticed(tmp_path):
    write_tar(tmp_path / "x.tar").close()
    content = bytearray((tmp_path / "x.tar").read_bytes())
    content[content.index(b"dir/001.json") + 5] ^= 1  # the header's checksum is wrong now
    (tmp_path / "x.tar").write_bytes(content)
    prepare(tmp_path, tmp_path / "x.tar", images=None, val_share=0)
    assert "the tar is damaged or cut off here" in report(tmp_path)[0]["reason"]


def test_a_compressed_or_foreign_tar_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + b"no tar" * 200)
    with pytest.raises(UserError, match="x.tar: not a readable tar file"):
        prepare(tmp_path, tmp_path / "x.tar", images=None)


# --- the whole


def test_any_number_of_workers_gives_the_same_data_set(tmp_path):
    lines = fill(tmp_path / "images", [f"{i}.jpg" for i in range(40)])
    for i in range(0, 40, 3):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(encoded(picture(i, mode="L"), "PNG"))
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
        (tmp_path / "images" / "a.jpg").write_bytes(encoded(picture(99)))
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
        ("m.txt", "images", "must end in .jsonl, .csv or .tar"),
        ("m.jsonl", "images", "no records in it"),
    ],
)
def test_arguments_that_name_nothing(tmp_path, captions, images, message):
    (tmp_path / "images").mkdir()
    (tmp_path / "m.jsonl").write_text("\n")
    (tmp_path / "m.txt").write_text("x")
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, tmp_path / captions, images=images)
