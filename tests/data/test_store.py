"""The store: what is written is read by TFDS, whole or not at all."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from array_record.python import array_record_module

from jaxvl.data import sources, store
from jaxvl.data.host_tf import tfds
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError


def record(i, **changes):
    # The store does not decode: any bytes do, where nothing else does.
    return {"image": b"jpeg %d" % i, "file_name": f"{i}", "captions": [f"a cube {i}"], **changes}


def write(directory, splits, counts=None, **meta):
    store.write(
        directory,
        kind="test",
        splits={name: iter(records) for name, records in splits.items()},
        counts=counts or {name: len(records) for name, records in splits.items()},
        meta=meta,
        vocabulary_size=60,
    )


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_tfds_reads_it(tmp_path):
    captions = ["Größe 🐕", "two\nlines"]
    boxes = np.array([[0.0, 0.25, 0.5, 1.0]])
    full = record(
        1,
        captions=captions,
        boxes=boxes,
        mentions=np.array([[0, 1, 0]]),
        negatives=["no"],
        negative_kinds=["swap_attribute"],
        negative_captions=np.array([1]),
    )
    write(tmp_path / "set", {"train": [record(0), full], "val": [record(2)]})
    builder = tfds.builder_from_directory(str(tmp_path / "set"))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 2,
        "val": 1,
    }
    skip = {"image": tfds.decode.SkipDecoding()}
    found = builder.as_data_source(split="train", decoders=skip)[1]
    assert [caption.decode() for caption in found["captions"]] == captions
    np.testing.assert_array_equal(found["boxes"], boxes)
    assert found["mentions"].tolist() == [[0, 1, 0]]
    assert list(found["negative_kinds"]) == [b"swap_attribute"]


def test_meta_tells_what_it_is(tmp_path):
    write(tmp_path / "set", {"train": [record(0)], "val": []}, seed=7)
    meta = store.read_meta(tmp_path / "set")
    assert meta["kind"] == "test" and meta["seed"] == 7
    assert meta["splits"] == {"train": 1, "val": 0}


def test_the_fingerprint_is_the_content_s(tmp_path):
    variants = {
        "same": {"train": [record(0), record(1)]},
        "again": {"train": [record(0), record(1)]},
        "order": {"train": [record(1), record(0)]},
        "image": {"train": [record(0), record(1, image=b"other")]},
        "caption": {"train": [record(0), record(1, captions=["other"])]},
        "box": {"train": [record(0), record(1, boxes=np.zeros((1, 4)))]},
        "split": {"train": [record(0)], "val": [record(1)]},
    }
    prints = {}
    for name, splits in variants.items():
        write(tmp_path / name, splits)
        prints[name] = store.read_meta(tmp_path / name)["fingerprint"]
    assert prints["same"] == prints["again"]
    assert len(set(prints.values())) == len(prints) - 1


def test_another_process_writes_the_same_files(tmp_path):
    code = """
import sys
from jaxvl.data import store
records = ({"image": b"x", "file_name": str(i), "captions": ["a cube"]} for i in range(8))
splits, counts = {"train": records}, {"train": 8}
store.write(sys.argv[1], kind="test", splits=splits, counts=counts, meta={}, vocabulary_size=60)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], stderr=subprocess.DEVNULL)
    records = [{"image": b"x", "file_name": str(i), "captions": ["a cube"]} for i in range(8)]
    write(tmp_path / "b", {"train": records})
    assert left_in(tmp_path / "a") == left_in(tmp_path / "b")
    for name in left_in(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_many_records_make_several_shards_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RECORDS_PER_SHARD", 4)
    write(tmp_path / "set", {"train": [record(i) for i in range(10)]})
    assert len(list((tmp_path / "set").glob("*train*"))) == 3
    source = sources.open_prepared(tmp_path / "set", split="train")
    assert [each["file_name"] for each in sources.annotations(source)] == list("0123456789")


def test_the_tokenizer_knows_the_train_captions_only(tmp_path):
    splits = {
        "train": [record(0, captions=["cube"] * 9)],
        "val": [record(1, captions=["sphere"] * 9)],
    }
    write(tmp_path / "set", splits)
    stored = tokenizer.load(tmp_path / "set")
    assert stored.token_to_id("cube") is not None and stored.token_to_id("sphere") is None


def test_an_existing_data_set_is_never_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="exists and is not empty"):
        write(tmp_path, {"train": [record(0)]})
    assert left_in(tmp_path) == ["mine.txt"]


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set", {"train": [record(0)]})
    assert store.read_meta(tmp_path / "set")["splits"] == {"train": 1}


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupted_write_leaves_nothing(tmp_path, error):
    def records():
        yield record(0)
        raise error

    with pytest.raises(type(error)):
        write_generator(tmp_path / "set", records())
    assert left_in(tmp_path) == []


def write_generator(directory, records):
    store.write(
        directory,
        kind="test",
        splits={"train": records},
        counts={"train": 2},
        meta={},
        vocabulary_size=60,
    )


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), ValueError("INTERNAL: write(): No space left on device")],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, error):
    def records():
        yield record(0)
        raise error

    with pytest.raises(UserError, match="the disk is full; nothing was written"):
        write_generator(tmp_path / "set", records())
    assert left_in(tmp_path) == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    partial = tmp_path / ".set.partial"
    partial.mkdir()
    (partial / "half a shard").write_text("")
    write(tmp_path / "set", {"train": [record(0)]})
    assert left_in(tmp_path) == ["set"]
    assert "half a shard" not in left_in(tmp_path / "set")


def test_two_processes_do_not_write_one_data_set(tmp_path):
    partial = tmp_path / ".set.partial"
    partial.mkdir()
    lock = os.open(partial, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        with pytest.raises(UserError, match="another process is writing it"):
            write(tmp_path / "set", {"train": [record(0)]})
        assert partial.exists()
    finally:
        os.close(lock)


def test_records_that_were_lost_on_the_way_are_noticed(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="split train: 3 records announced, 1 came"):
        write(tmp_path / "set", {"train": [record(0)]}, counts={"train": 3})

    class Lossy(array_record_module.ArrayRecordWriter):
        def write(self, record):
            if b"a cube 0" in record:
                super().write(record)

    monkeypatch.setattr(array_record_module, "ArrayRecordWriter", Lossy)
    with pytest.raises(UserError, match="split train holds 1 of 2 records"):
        write(tmp_path / "set", {"train": [record(0), record(1)]})
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(captions=[]), "record 0: a caption is missing or empty"),
        (dict(captions=["fine", " "]), "record 0: a caption is missing or empty"),
        (dict(boxes=np.zeros((2, 3))), r"record 0: boxes has shape \(2, 3\), not \('n', 4\)"),
        (dict(label=7), r"record 0: missing fields \[\], unknown fields \['label'\]"),
    ],
)
def test_a_record_that_is_not_of_the_schema_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        write(tmp_path / "set", {"train": [record(0, **changes)]})
    assert left_in(tmp_path) == []


def test_fields_that_a_record_leaves_out_are_stored_empty(tmp_path):
    write(tmp_path / "set", {"train": [record(0)]})
    source = sources.open_prepared(tmp_path / "set", split="train")
    (found,) = sources.annotations(source)
    assert found["negatives"] == [] and found["boxes"].shape == (0, 4)


def test_damaged_meta_is_named(tmp_path):
    (tmp_path / "jaxvl.json").write_text(json.dumps({})[:-1])
    with pytest.raises(UserError, match="jaxvl.json: unreadable"):
        store.read_meta(tmp_path)
