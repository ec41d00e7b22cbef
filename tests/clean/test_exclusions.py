"""Lists of what is left out on purpose: what they may say, and what prepare does with them."""

import json

import planted
import pytest

from jaxvl.data import sources, store
from jaxvl.data.folder import exclusions
from jaxvl.data.folder.exclusions import Exclusion
from jaxvl.data.folder.prepare import prepare_folder
from jaxvl.errors import UserError


@pytest.fixture
def photos(tmp_path):
    """Four images, the first with two captions."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = []
    for number in range(4):
        planted.photo(number, (40, 30)).save(folder / f"{number}.jpg")
        lines.append({"file_name": f"{number}.jpg", "text": f"cup {number}", "split": "train"})
    lines[0]["text"] = ["a red cup", "a dog"]
    planted.write(folder, lines)
    return folder


def prepare(photos, listed, **changes):
    path = photos.parent / "list.jsonl"
    path.write_text(
        "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in listed)
    )
    options = dict(images=photos, captions=photos / "metadata.jsonl", out=photos.parent / "out")
    options |= dict(max_bad=0.01, val_share=0.2, vocabulary_size=60, max_side=0, workers=1)
    return prepare_folder(**{**options, "exclude": path, **changes})


def stored(photos):
    source = sources.open_prepared(photos.parent / "out", split="train")
    return {each["file_name"]: list(each["captions"]) for each in sources.annotations(source)}


def test_records_and_single_captions_are_left_out_said_and_counted(photos):
    listed = ["./1.jpg", {"file_name": "2.jpg", "reason": "blurred (0.7)"}]
    listed += [{"file_name": "0.jpg", "caption": "a dog", "reason": "does not fit"}]
    said = prepare(photos, listed)
    assert stored(photos) == {"0.jpg": ["a red cup"], "3.jpg": ["cup 3"]}
    assert said.startswith("read 4 records, left out 2, wrote train 2 to")
    assert "left out 1: excluded as blurred: 2.jpg" in said
    assert "kept 1: a caption is excluded as does not fit: 0.jpg" in said
    assert store.read_meta(photos.parent / "out")["excluded"] == {
        "records": 2,
        "captions": 1,
        "reasons": {"blurred": 1, "does not fit": 1, "listed": 1},
    }
    lines = (photos.parent / "out.report.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in lines} == {"0.jpg", "1.jpg", "2.jpg"}


def test_a_record_whose_captions_are_all_listed_is_left_out(photos):
    listed = [{"file_name": "0.jpg", "caption": each} for each in ("a dog", "a red cup")]
    prepare(photos, listed)
    assert sorted(stored(photos)) == ["1.jpg", "2.jpg", "3.jpg"]
    assert store.read_meta(photos.parent / "out")["excluded"]["records"] == 1


@pytest.mark.parametrize(
    "line, said",
    [
        ("9.jpg", "line 2: no record '9.jpg' in --captions"),
        ({"file_name": "0.jpg", "caption": "a cat"}, "line 2: '0.jpg' has no caption 'a cat'"),
        ({"file_name": "0.jpg", "text": "a dog"}, "line 2 has no field 'text'"),
        ({"file_name": "0.jpg", "caption": 3}, "line 2 has a value that is no text"),
        ({"caption": "a dog"}, "line 2 has no file_name"),
        ('{"file_name": ', "line 2 is not JSON"),
    ],
)
def test_a_line_that_names_nothing_is_an_error_and_nothing_is_written(photos, line, said):
    with pytest.raises(UserError, match="--exclude .*list.jsonl: " + said.replace("(", r"\(")):
        prepare(photos, ["1.jpg", line])
    assert not (photos.parent / "out").exists()


def test_what_is_bad_anyway_may_be_listed_and_max_bad_counts_the_rest_only(photos):
    lines = planted.lines(photos) + [{"file_name": "gone.jpg", "text": "x", "split": "train"}]
    planted.write(photos, lines)
    (photos / "2.jpg").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"1 of 5 records \(20.0%\) are bad"):
        prepare(photos, ["gone.jpg", "2.jpg"])
    prepare(photos, ["gone.jpg", "2.jpg"], max_bad=0.2)
    assert store.read_meta(photos.parent / "out")["excluded"]["records"] == 1


def test_a_list_that_leaves_nothing_is_refused(photos):
    with pytest.raises(UserError, match="no record is left: 4 are excluded"):
        prepare(photos, [f"{number}.jpg" for number in range(4)])
    assert not (photos.parent / "out").exists()


def test_without_a_list_the_record_of_the_data_set_says_nothing_of_it(photos):
    prepare(photos, [], exclude=None)
    assert "excluded" not in store.read_meta(photos.parent / "out")


def test_what_is_written_is_read(tmp_path):
    written = [
        Exclusion(0, "ä\u2028.jpg", None, "blurred"),
        Exclusion(0, "b.jpg", 'say "x"\n', "does not fit"),
    ]
    exclusions.write(tmp_path / "list", written)
    read = exclusions.read(tmp_path / "list")
    assert [one._replace(line=0) for one in read] == written


def test_a_list_that_is_not_there_is_named(photos):
    with pytest.raises(UserError, match="--exclude no_list: cannot be read"):
        prepare(photos, [], exclude="no_list")
