"""A user's folder of images, as the tests of this room write and prepare it."""

import io
import json

import numpy as np
from PIL import Image

from jaxvl.data import sources
from jaxvl.data.folder.prepare import prepare_folder
from jaxvl.data.host_tf import tf


def noise(seed, size=(12, 10), mode="RGB"):
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
    """Good images of these names; returns their metadata lines as dicts."""
    images.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names, start=first_seed):
        (images / name).write_bytes(encoded(noise(seed)))
    return [{"file_name": name, "text": f"image {name[0]}", "split": "train"} for name in names]


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
    return prepare_folder(**{**options, **changes})


def report(tmp_path):
    path = tmp_path / "out.report.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stored(tmp_path, split="train"):
    source = sources.open_prepared(tmp_path / "out", split=split)
    records = sources.annotations(source)
    raw = source.read(np.arange(source.num_examples))
    for record, serialized in zip(records, raw):
        record["image"] = source.parse(tf.constant(serialized))["image"].numpy()
    return {record["file_name"]: record for record in records}


def prepare_one_bad(tmp_path, line):
    """Prepare three good images and one bad line; returns the line of the report."""
    good = fill(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    captions = write_jsonl(tmp_path / "metadata.jsonl", [good[0], line, *good[1:]])
    summary = prepare(tmp_path, captions)
    assert sorted(stored(tmp_path)) == ["a.jpg", "b.jpg", "c.jpg"]
    assert summary.startswith("read 4 records, left out 1, wrote train 3 to")
    (problem,) = report(tmp_path)
    assert problem["record"] == "metadata.jsonl:2" and problem["left_out"]
    assert problem["reason"].split(" (")[0].split(":")[0] in summary
    return problem
