"""A data set whose captions allow no hard negative, and training that would learn from none."""

import io
import json

import pytest
from ml_collections import ConfigDict
from PIL import Image

from jaxvl.data import sources, store
from jaxvl.data.negatives import KINDS, choose_filler, storage, valid
from jaxvl.data.negatives.captions import open_captions
from jaxvl.data.negatives.run import write_negatives
from jaxvl.data.text import tokenizer
from jaxvl.data.text.scripts import reading_of
from jaxvl.errors import UserError

CAPTIONS = ["赤いマグカップ", "青い皿の上の白い花"]
DATA = {"max_tokens": 20, "max_words": 20, "add_sep": False, "words": "japanese"}


def prepared(directory, captions):
    """Writes a prepared data set of these captions; returns its Source."""
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "JPEG")
    records = [
        {"image": encoded.getvalue(), "file_name": f"{number}.jpg", "captions": [caption]}
        for number, caption in enumerate(captions)
    ]
    store.write(
        directory,
        kind="folder",
        splits={"train": records},
        counts={"train": len(records)},
        meta={},
        vocabulary_size=400,
        reading=reading_of(captions),
    )
    return sources.open_prepared(directory, split="train")


def negatives_of(data, out):
    return write_negatives(
        out, data=open_captions(data), filler=choose_filler("corpus", {}), seed=0, workers=1
    )


@pytest.fixture
def source(tmp_path):
    pytest.importorskip("sudachipy", reason="the extra [japanese] is not installed")
    return prepared(tmp_path / "data", CAPTIONS)


def check(source, negatives, **changes):
    words = tokenizer.load(source.name.rpartition(":")[0])
    data = ConfigDict({**DATA, "negatives": str(negatives), "negative_kinds": KINDS, **changes})
    valid.check_some(source, words, data)


def test_negatives_are_written_and_training_takes_them(source, tmp_path):
    meta = negatives_of(tmp_path / "data", tmp_path / "out")
    assert meta["language"] == "japanese" and meta["made"]["adj"] == 2
    check(source, tmp_path / "out")
    assert negatives_of(tmp_path / "data", tmp_path / "out") is None
    check(source, "")


def test_captions_that_allow_none_are_refused_and_nothing_is_left(tmp_path):
    pytest.importorskip("sudachipy", reason="the extra [japanese] is not installed")
    prepared(tmp_path / "data", ["写真", "あれ"])
    with pytest.raises(UserError, match="none of its 2 captions allows .* nothing was written"):
        negatives_of(tmp_path / "data", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_training_without_any_negative_is_refused_with_what_to_do(source, tmp_path):
    out = tmp_path / "out"
    negatives_of(tmp_path / "data", out)
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    empty = [json.dumps({**line, "negatives": [None] * 5}) + "\n" for line in lines]
    (out / "train.jsonl").write_text("".join(empty))
    index = storage.index_of([(line["example"], len(t)) for line, t in zip(lines, empty)], 2)
    (out / "train.index.npz").write_bytes(index)
    with pytest.raises(UserError, match="no negative of any kind in 2 captions.*jaxvl negatives"):
        check(source, out)


def test_negatives_that_are_cut_off_are_refused_with_the_key(source, tmp_path):
    negatives_of(tmp_path / "data", tmp_path / "out")
    with pytest.raises(UserError, match="are read as their captions are; raise data.max_tokens=2"):
        check(source, tmp_path / "out", max_tokens=2, words="characters", max_words=0)


def test_a_filler_that_does_not_know_the_language_is_refused(source, tmp_path):
    filler = choose_filler("mlm", {"weights": "bert"})
    with pytest.raises(UserError, match="--filler mlm does not know Japanese"):
        write_negatives(
            tmp_path / "out",
            data=open_captions(tmp_path / "data"),
            filler=filler,
            seed=0,
            workers=1,
        )
