"""A user's folder: what is stored of images and captions, and in which split."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from photo_folder import encoded, fill, noise, prepare, report, stored, write_jsonl
from PIL import Image

from jaxvl.data import sources, store
from jaxvl.data.host_tf import tf
from jaxvl.data.text import tokenizer

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
    line = {"file_name": "x", "text": "image", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]))
    image = Image.open(io.BytesIO(stored(tmp_path)["x"]["image"]))
    assert image.format == "JPEG" and image.mode == "RGB" and image.size == size
    assert image.getexif().get(0x0112, 1) == 1
    np.testing.assert_allclose(image.getpixel((size[0] // 2, 0)), colour, atol=4)
    assert tf.io.decode_jpeg(stored(tmp_path)["x"]["image"]).shape == (*size[::-1], 3)


@pytest.mark.parametrize("progressive", [False, True])
def test_an_upright_rgb_jpeg_keeps_its_bytes(tmp_path, progressive):
    (tmp_path / "images").mkdir()
    content = encoded(noise(0, (64, 48)), quality=70, progressive=progressive)
    (tmp_path / "images" / "a.jpg").write_bytes(content)
    line = {"file_name": "a.jpg", "text": "image", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]), max_side=64)
    assert stored(tmp_path)["a.jpg"]["image"] == content


def test_max_side_shrinks_what_is_larger(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(encoded(noise(0, (64, 48))))
    line = {"file_name": "a.jpg", "text": "image", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]), max_side=32)
    assert Image.open(io.BytesIO(stored(tmp_path)["a.jpg"]["image"])).size == (32, 24)


def test_a_jpeg_that_only_pil_can_read_is_stored_anew_and_noted(tmp_path):
    """PIL fills in what a comment in the middle swallows; TensorFlow would stop in training."""
    whole = encoded(noise(3, (160, 160)))
    middle = len(whole) // 2
    hurt = whole[:middle] + b"\xff\xfe\xff\xff" + whole[middle:]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_jpeg(hurt)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(hurt)
    line = {"file_name": "a.jpg", "text": "image", "split": "train"}
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
    assert tokenizer.load(tmp_path / "out").token_to_id("image") is not None


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
    source = sources.open_prepared(tmp_path / "out2", split="val")
    assert {each["file_name"][0] for each in sources.annotations(source)} == first


def test_the_share_is_drawn_alike_in_every_process():
    code = """
from jaxvl.data.folder.prepare import Checked, _with_splits
from jaxvl.data.folder.rows import Row
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


# --- what tells of people


def with_place(quality=95, **options):
    exif = Image.Exif()
    exif[0x010F] = "Camera of A. Person"
    return encoded(noise(3, (40, 30)), "JPEG", quality=quality, exif=exif, **options)


@pytest.mark.parametrize("keep", [False, True])
def test_place_and_camera_are_not_stored_unless_asked_for(tmp_path, keep):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(with_place())
    line = {"file_name": "a.jpg", "text": "image", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]), keep_metadata=keep)
    image = stored(tmp_path)["a.jpg"]["image"]
    assert (b"A. Person" in image) == keep
    assert image == (with_place() if keep else encoded(noise(3, (40, 30)), quality=95))


def test_captions_with_addresses_and_numbers_are_counted(tmp_path):
    texts = [
        "mail me@example.org",
        "call 03-1234-5678",
        "０９０ー１２３４ー５６７８",
        "JAN 4901234567894",
    ]
    texts += ["2024-05-12 at 10:30", "1920 x 1080", "3 2 1 cups"]
    lines = fill(tmp_path / "images", [f"{i}.jpg" for i in range(len(texts))])
    for line, text in zip(lines, texts):
        line["text"] = text
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert [problem["path"] for problem in report(tmp_path)] == ["0.jpg", "1.jpg", "2.jpg"]
    told = "kept 3: a caption that looks like an e-mail address or a telephone number: 0.jpg, 1.jpg"
    assert told in summary and len(stored(tmp_path)) == len(texts)
