"""Tars and parquet files wherever they lie: a damaged one is a line of the report, not the end."""

import gzip
import io
import json
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photo_folder import encoded, noise, prepare, report, stored

from jaxvl.data import store
from jaxvl.errors import UserError


def write_tar(path, names, *, first_seed=0, mode="w", extension="txt"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for seed, name in enumerate(names, start=first_seed):
            text = json.dumps({"caption": f"image {name}", "url": "http", "split": None})
            text = f"image {name}" if extension == "txt" else text
            pair = {
                f"{name}.jpg": encoded(noise(seed, (90, 70))),
                f"{name}.{extension}": text.encode(),
            }
            for member, content in pair.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def prepare_shards(tmp_path, captions, **changes):
    return prepare(tmp_path, captions, images=None, val_share=0, **changes)


def left_beside(tmp_path):
    return [path.name for path in tmp_path.iterdir() if "unpacked" in path.name]


# --- where they lie


@pytest.mark.parametrize(
    "captions, shards",
    [
        ("tars/s-{000..001}.tar", ["s-000.tar", "s-001.tar"]),
        ("tars/s-{000,002}.tar", ["s-000.tar", "s-002.tar"]),
        ("{tars,more}/s-00{0..0}.tar", ["more/s-000.tar", "tars/s-000.tar"]),
        ("tars/*-00[12].tar", ["s-001.tar", "s-002.tar"]),
        ("tars", ["s-000.tar", "s-001.tar", "s-002.tar"]),
        ("deep", ["train/a/s-000.tar", "val/a/s-000.tar"]),
        ("gz", ["s.tar.gz", "t.tgz", "u.tar.bz2", "v.tar.xz"]),
        ("gz/s.tar.gz", ["s.tar.gz"]),
        ("brackets[1].tar", ["brackets[1].tar"]),
    ],
)
def test_tars_wherever_they_lie(tmp_path, captions, shards):
    files = {f"tars/s-00{i}.tar": "w" for i in range(3)} | {"more/s-000.tar": "w"}
    files |= {"deep/train/a/s-000.tar": "w", "deep/val/a/s-000.tar": "w", "brackets[1].tar": "w"}
    files |= {"gz/s.tar.gz": "w:gz", "gz/t.tgz": "w:gz", "gz/u.tar.bz2": "w:bz2"}
    files |= {"gz/v.tar.xz": "w:xz"}
    for seed, (name, mode) in enumerate(files.items()):
        write_tar(tmp_path / name, ["0"], first_seed=seed, mode=mode)
    prepare_shards(tmp_path, f"{tmp_path}/{captions}")
    assert sorted(stored(tmp_path)) == [f"{shard}/0.jpg" for shard in shards]
    assert left_beside(tmp_path) == []


def test_shards_that_are_missing_among_braces_are_named(tmp_path):
    write_tar(tmp_path / "s-000.tar", "ab")
    summary = prepare_shards(tmp_path, f"{tmp_path}/s-{{000..002}}.tar")
    assert len(stored(tmp_path)) == 2 and "left out 2: missing file" in summary


# --- damage


def cut(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "name, damage, reason",
    [
        ("z.tar", lambda content: b"", "not a readable tar file (an empty file"),
        ("z.tar", lambda content: b"<html>404</html>" * 99, "not a readable tar file"),
        ("z.tar", lambda content: content[:3000], "the tar is damaged or truncated here"),
        ("z.tar", lambda content: content[: 512 + 2000], "truncated or damaged"),
        ("z.tar", cut, "the tar is damaged or truncated here"),
        ("z.tar.gz", lambda content: cut(gzip.compress(content)), "damaged or cut off"),
        ("z.tar.gz", lambda content: gzip.compress(content)[:30], "not a readable tar file"),
        ("z.tar.gz", lambda content: gzip.compress(content)[:-6] + b"123456", "damaged or cut"),
        ("z.tar.gz", lambda content: gzip.compress(bytes(2**27)), "unpacks to many times"),
        ("z.tar.zst", lambda content: b"\x28\xb5\x2f\xfd" + bytes(99), "not a readable tar file"),
    ],
)
def test_a_damaged_shard_is_a_line_of_the_report(tmp_path, name, damage, reason):
    write_tar(tmp_path / "tars" / "a.tar", ["0", "1", "2"])
    content = write_tar(tmp_path / "z.tar", "345678", first_seed=3).read_bytes()
    (tmp_path / "tars" / name).write_bytes(damage(content))
    prepare_shards(tmp_path, tmp_path / "tars")
    problems = report(tmp_path)
    assert any(problem["reason"].startswith(reason) for problem in problems), problems
    assert all(problem["left_out"] for problem in problems)
    assert {f"a.tar/{i}.jpg" for i in range(3)} <= set(stored(tmp_path))
    assert left_beside(tmp_path) == []


def test_a_damaged_shard_counts_for_max_bad(tmp_path):
    write_tar(tmp_path / "tars" / "a.tar", ["0", "1", "2"])
    (tmp_path / "tars" / "b.tar").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 4 records .* 1 not a readable tar file"):
        prepare_shards(tmp_path, tmp_path / "tars", max_bad=0.2)


# --- names of members


@pytest.mark.parametrize("extension", ["txt", "json"])
def test_names_with_dots(tmp_path, extension):
    names = ["0", "22.05", "22.06", "v1.2 final", "dir.d/3"]
    write_tar(tmp_path / "a.tar", names, extension=extension)
    prepare_shards(tmp_path, tmp_path / "a.tar")
    assert set(stored(tmp_path)) == {f"a.tar/{name}.jpg" for name in names}
    assert report(tmp_path) == []


def test_webdataset_s_several_files_of_one_key_stay_one_record(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for seed, (name, text) in enumerate(
            {"0.jpg": b"", "0.depth.png": b"", "0.txt": b"image", "0.left.txt": b"no"}.items()
        ):
            content = text or encoded(noise(seed))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    prepare_shards(tmp_path, tmp_path / "a.tar")
    assert {name: r["captions"] for name, r in stored(tmp_path).items()} == {
        "a.tar/0.jpg": ["image"]
    }
    assert report(tmp_path) == []


def test_images_without_text_whose_names_have_dots_are_each_named(tmp_path):
    write_tar(tmp_path / "a.tar", ["0"])
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for seed, name in enumerate(["22.05.jpg", "22.06.jpg"], start=5):
            content = encoded(noise(seed))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    prepare_shards(tmp_path, tmp_path / "a.tar")
    problems = report(tmp_path)
    assert [problem["path"] for problem in problems] == ["22.05.jpg", "22.06.jpg"]
    assert all(problem["reason"].startswith("no caption of the same name") for problem in problems)


# --- parquet


def write_parquet(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


IMAGES = [encoded(noise(seed, (90, 70))) for seed in range(3)]
OF_IMG2DATASET = {
    "url": ["http"] * 4,
    "key": [f"{i:09d}" for i in range(4)],
    "caption": [f"image {i}" for i in range(4)],
    "status": ["success"] * 3 + ["failed_to_download"],
    "jpg": [*IMAGES, None],
}


def test_parquet_of_img2dataset(tmp_path):
    for shard in range(2):
        write_parquet(tmp_path / "shards" / f"{shard:05d}.parquet", OF_IMG2DATASET)
    summary = prepare_shards(tmp_path, tmp_path / "shards")
    found = stored(tmp_path)
    assert len(found) == 6 and "columns not read: url" in summary
    record = found["00001.parquet:2/000000002"]
    assert record["captions"] == ["image 2"] and record["image"] == IMAGES[2]
    assert [problem["reason"] for problem in report(tmp_path)] == [
        "no image in this row (status: failed_to_download)"
    ] * 2
    assert left_beside(tmp_path) == []


def test_parquet_of_hugging_face(tmp_path):
    images = [{"bytes": image, "path": f"{i}.jpg"} for i, image in enumerate(IMAGES)]
    table = {"image": images, "text": [["one", "two"], ["three"], ["four"]]}
    prepare_shards(tmp_path, write_parquet(tmp_path / "train.parquet", table))
    assert stored(tmp_path)["train.parquet:0/0.jpg"]["captions"] == ["one", "two"]


def test_parquet_that_names_files(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(IMAGES[0])
    table = write_parquet(tmp_path / "t.parquet", {"file_name": ["a.jpg"], "caption": ["image"]})
    with pytest.raises(UserError, match="--images is needed"):
        prepare_shards(tmp_path, table)
    prepare(tmp_path, table, val_share=0)
    assert list(stored(tmp_path)) == ["a.jpg"]


def test_parquet_without_images_is_told_from_its_columns(tmp_path):
    table = {name: OF_IMG2DATASET[name] for name in ("url", "key", "caption")}
    with pytest.raises(UserError, match="found: 'url', 'key', 'caption' .of img2dataset, give the"):
        prepare_shards(tmp_path, write_parquet(tmp_path / "00000.parquet", table))


def test_a_damaged_parquet_file_is_a_line_of_the_report(tmp_path):
    good = write_parquet(tmp_path / "shards" / "0.parquet", OF_IMG2DATASET)
    (tmp_path / "shards" / "1.parquet").write_bytes(cut(good.read_bytes()))
    prepare_shards(tmp_path, tmp_path / "shards")
    assert report(tmp_path)[1]["reason"].startswith("not a readable parquet file")
    with pytest.raises(UserError, match="1.parquet: not a readable parquet file"):
        prepare_shards(tmp_path, tmp_path / "shards" / "1.parquet", out=tmp_path / "out2")


# --- the room in which they are unpacked


def test_what_a_killed_run_has_left_is_removed(tmp_path):
    (tmp_path / ".out.unpacked").mkdir()
    (tmp_path / ".out.unpacked" / "0_a.tar.gz").write_bytes(bytes(99))
    write_tar(tmp_path / "a.tar", ["0"])
    prepare_shards(tmp_path, tmp_path / "a.tar")
    assert left_beside(tmp_path) == [] and store.read_meta(tmp_path / "out")["splits"] == {
        "train": 1
    }


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    write_tar(tmp_path / "a.tar.gz", ["0"], mode="w:gz")

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(gzip.GzipFile, "read1", full)
    with pytest.raises(UserError, match="the disk is full; nothing was written"):
        prepare_shards(tmp_path, tmp_path / "a.tar.gz")
    assert left_beside(tmp_path) == [] and not (tmp_path / "out").exists()
