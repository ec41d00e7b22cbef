"""jaxvl clean with a run: its captions are judged, and a model that knows nothing excludes none."""

import json

import planted
import pytest
from finished import make_run

from jaxvl.cli import clean

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path_factory, tiny_config):
    return make_run(tmp_path_factory, tiny_config)


def report(out):
    return json.loads((out / "clean.json").read_text())


def finding(found, name):
    return next(each for each in found["findings"] if each["name"] == name)


def test_of_a_prepared_data_set(run, scenes_directory, tmp_path, capsys):
    arguments = ["--data", str(scenes_directory), "--workdir", str(run), "--workers", "1"]
    for name in ("one", "two"):
        clean.main([*arguments, "--out", str(tmp_path / name), "--apply"])
    for name in ("clean.html", "clean.json", "exclusions.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    found = report(tmp_path / "one")
    assert found["data"]["splits"] == {"train": 40, "val": 12}
    assert found["model"]["step"] == 3 and found["model"]["told_apart"] < 0.9
    misfit = finding(found, "misfit")
    assert misfit["looked_at"] == found["data"]["captions"] == 52 * 5
    assert misfit["count"] > 0 and not misfit["excluded"]
    assert "too few to judge single captions" in (tmp_path / "one" / "clean.html").read_text()
    assert "does not fit" not in (tmp_path / "one" / "exclusions.jsonl").read_text()
    assert found["texts"]["tokenizer"] == "run" and found["texts"]["cut"] is not None
    alike = finding(found, "alike")["records"]
    assert alike and all(each["cosine"] >= alike[-1]["cosine"] for each in alike)


def test_of_a_folder_with_a_damaged_image(run, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        planted.photo(number).save(photos / f"{number}.jpg")
    planted.copied(planted.photo(0), 2).save(photos / "6.jpg")
    (photos / "2.jpg").write_bytes(b"damaged")
    texts = ["a red ball", "a cup", "a dog", "a cup", "two trees", "a house", "a car"]
    planted.write(photos, [{"file_name": f"{n}.jpg", "text": text} for n, text in enumerate(texts)])
    given = ["--images", str(photos), "--captions", str(photos / "metadata.jsonl")]
    clean.main([*given, "--workdir", str(run), "--out", str(tmp_path / "out"), "--workers", "1"])
    found = report(tmp_path / "out")
    assert found["unusable"]["count"] == 1 and finding(found, "misfit")["looked_at"] == 6
    (copy,) = finding(found, "near_copy")["records"]
    assert copy["file_name"] == "6.jpg" and copy["of"]["file_name"] == "0.jpg"
    assert copy["caption"] == "a car" and copy["cosine"] > 0.9
