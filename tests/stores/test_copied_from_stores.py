"""Data, tokenizers, benchmarks and weights in a bucket are read from copies, made once."""

import numpy as np
import pytest
import transformers

from jaxvl import copies, paths
from jaxvl.data import sources, store
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError
from jaxvl.interop.kinds import open_weights


@pytest.fixture(params=["gs", "s3"])
def bucket(request):
    """The place of a bucket of either kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def data(bucket, scenes_directory):
    """A prepared data set in a bucket."""
    place = f"{bucket}/scenes"
    if not paths.of(place).exists():
        paths.filesystem(place).put(f"{scenes_directory}/", f"{place}/", recursive=True)
    return place


def fetched(monkeypatch, place):
    """Returns a list that will hold the name of each object that is fetched."""
    seen, get = [], paths.filesystem(place).get
    monkeypatch.setattr(
        paths.filesystem(place), "get", lambda names, to: (seen.extend(names), get(names, to))
    )
    return seen


def test_records_are_those_of_the_folder_and_only_what_is_read_is_copied(
    data, scenes_directory, cache, monkeypatch
):
    seen = fetched(monkeypatch, data)
    there = sources.open_prepared(data, split="val")
    here = sources.open_prepared(scenes_directory, split="val")
    indices = np.arange(here.num_examples)
    assert there.read(indices) == here.read(indices)
    assert there.fingerprint == here.fingerprint and there.name == f"{data}:val"
    assert [name.rpartition("/")[2] for name in seen] == ["jaxvl_scenes-val.array_record-00000"]
    assert store.read_meta(data) == store.read_meta(scenes_directory)
    own, other = tokenizer.load(data), tokenizer.load(scenes_directory)
    assert own.to_str() == other.to_str()

    seen.clear()
    sources.open_prepared(data, split="val"), tokenizer.load(data)
    assert seen == []


def test_an_object_that_has_changed_is_copied_again(bucket, cache):
    place = paths.of(f"{bucket}/changing/a.txt")
    place.write_text("old")
    assert copies.local(place).read_text() == "old"
    place.write_text("newer")
    assert copies.local(place).read_text() == "newer"
    assert copies.local(f"{bucket}/changing") == copies.local(place).parent
    assert copies.local(f"{bucket}/changing") == cache / f"{bucket}/changing".replace("://", "/")


def test_a_copy_that_is_not_what_the_bucket_has_is_not_kept(gs, cache, monkeypatch):
    place = paths.of(f"{gs}/whole.bin")
    place.write_bytes(b"whole")

    def damaged(names, to):
        for path in to:
            with open(path, "wb") as file:
                file.write(b"other")

    monkeypatch.setattr(paths.filesystem(place), "get", damaged)
    with pytest.raises(UserError, match="the copy is not what the bucket has"):
        copies.local(place)
    monkeypatch.undo()
    assert [
        path.name for path in cache.rglob("*") if path.suffix != ".lock" and path.is_file()
    ] == []


def test_a_name_that_leads_out_of_the_folder_is_refused(bucket, cache, monkeypatch):
    found = {f"{bucket[5:]}/bad/../../x": {"size": 1}}
    monkeypatch.setattr(paths.filesystem(bucket), "find", lambda name, detail: found)
    with pytest.raises(UserError, match="leads out of the folder"):
        copies.local(f"{bucket}/bad")


def test_what_is_not_there_is_named(bucket, cache):
    with pytest.raises(UserError, match=f"{bucket}/nowhere: nothing is there"):
        copies.local(f"{bucket}/nowhere")


def test_too_little_room_is_said_before(bucket, cache, monkeypatch):
    paths.of(f"{bucket}/large/a").write_text("1234")
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda folder: type("", (), {"free": 3}))
    with pytest.raises(UserError, match="JAXVL_CACHE in the environment names another folder"):
        copies.local(f"{bucket}/large")


def test_weights(bucket, cache, tmp_path):
    torch_folder, place = tmp_path / "bert", f"{bucket}/bert"
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=50, **sizes))
    bert.save_pretrained(torch_folder)
    paths.filesystem(place).put(f"{torch_folder}/", f"{place}/", recursive=True)
    there, here = open_weights(place), open_weights(torch_folder)
    assert there.path == place and there.settings == here.settings
    assert sorted(there.tensors) == sorted(here.tensors)
