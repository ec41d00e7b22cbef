"""Reading a directory of negatives: the right line, or an error that says what is wrong."""

import json

import pytest

from jaxvl.data.negatives import open_negatives, storage
from jaxvl.errors import UserError

KINDS = ("noun", "verb")


@pytest.fixture
def stored(tmp_path):
    """Four examples of 2, 0, 1 and 3 captions, the second kind missing of every first caption."""
    lines, rows = [], []
    for example, captions in enumerate((2, 0, 1, 3)):
        for caption in range(captions):
            verb = {"text": f"verb {example} {caption}"} if caption else None
            negatives = [{"text": f"noun {example} {caption} é"}, verb]
            entry = {"example": example, "caption": caption, "text": "", "negatives": negatives}
            lines.append((json.dumps(entry, ensure_ascii=False) + "\n").encode())
            rows.append((example, len(lines[-1])))
    (tmp_path / "train.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "train.index.npz").write_bytes(storage.index_of(rows, 4))
    meta = {"format_version": 1, "kinds": KINDS, "fingerprint": "abc", "data": "d"}
    (tmp_path / "negatives.json").write_text(json.dumps({**meta, "splits": {"train": 4}}))
    return tmp_path


def read(stored, split, *pairs):
    negatives = open_negatives(stored, fingerprint=f"abc:{split}", kinds=KINDS)
    return negatives.read(*zip(*pairs))


def test_it_reads_each_caption_and_an_empty_text_where_there_is_none(stored):
    assert read(stored, "train", (3, 2), (0, 0)) == [
        ["noun 3 2 é", "verb 3 2"],
        ["noun 0 0 é", ""],
    ]


@pytest.mark.parametrize(
    ("split", "at", "text"),
    [
        ("train[2:]", (1, 0), "noun 3 0 é"),
        ("train[50%:]", (0, 0), "noun 2 0 é"),
        ("train[3:]+train[:3]", (1, 1), "noun 0 1 é"),
    ],
)
def test_examples_are_counted_as_in_the_split_that_is_trained_on(stored, split, at, text):
    assert read(stored, split, at)[0][0] == text


@pytest.mark.parametrize(
    ("fingerprint", "kinds", "message"),
    [
        ("abd:train", KINDS, "made for another data set"),
        ("abc:val", KINDS, "no negatives for split 'val'; there are: train"),
        ("abc:train", ("noun",), "holds 2 negatives a caption .noun, verb., .* asks for 1 .noun."),
        ("abc:train", ("verb", "noun"), "asks for 2"),
    ],
)
def test_another_data_set_split_or_other_kinds_are_refused(stored, fingerprint, kinds, message):
    with pytest.raises(UserError, match=message):
        open_negatives(stored, fingerprint=fingerprint, kinds=kinds)


def test_a_directory_without_negatives_is_refused(tmp_path):
    with pytest.raises(UserError, match="no hard negatives here"):
        open_negatives(tmp_path, fingerprint="abc:train", kinds=KINDS)


@pytest.mark.parametrize("name", ["train.jsonl", "train.index.npz"])
def test_a_truncated_file_is_refused(stored, name):
    path = stored / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="make the negatives again"):
        open_negatives(stored, fingerprint="abc:train", kinds=KINDS)
