"""jaxvl clean on a folder with planted faults: all of them are found, and nothing is changed."""

import base64
import html.parser
import importlib.util
import io
import json
import re
import shutil

import planted
import pytest
from PIL import Image

from jaxvl import files
from jaxvl.clean.wording import WORDING
from jaxvl.cli import clean, prepare
from jaxvl.data import store
from jaxvl.errors import printable

STRANGE = 'a cup <script>alert(1)</script> & "x" \u202e write to me@example.com'


def run(folder, out, *arguments):
    given = ["--images", str(folder), "--captions", str(folder / "metadata.jsonl")]
    clean.main([*given, "--out", str(out), "--workers", "1", *arguments])
    return json.loads((out / "clean.json").read_text())


def almost_plain():
    """One colour, but for a mark that nobody sees."""
    image = Image.new("RGB", (96, 96), (200, 200, 200))
    image.paste((204, 204, 204), (0, 0, 24, 24))
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs with planted faults, in two splits; their names by fault are in `names`."""
    folder = tmp_path_factory.mktemp("planted") / "photos"
    names = planted.fill(folder)
    lines = planted.lines(folder)
    by_name = {line["file_name"]: line for line in lines}
    for number in range(2):  # these two copies are leaks
        by_name[f"copies_{number}.jpg"]["split"] = "val"
    by_name["good_9.jpg"]["text"] = STRANGE
    for name, image in {
        "dark.jpg": planted.photo(900).point(lambda value: value // 8),
        "tiny.jpg": planted.photo(901, (70, 50)),
        "narrow.jpg": planted.photo(902, (400, 100)),
        "plain.jpg": almost_plain(),
        "plain_too.jpg": almost_plain(),
    }.items():
        image.save(folder / name)
        lines.append({"file_name": name, "text": f"a tree, {name}", "split": "train"})
    (folder / "cut.jpg").write_bytes((folder / "good_0.jpg").read_bytes()[:2000])
    (folder / "text.jpg").write_text("no image")
    for name in ("cut.jpg", "text.jpg", "missing.jpg"):
        lines.append({"file_name": name, "text": "a red cup", "split": "train"})
    planted.write(folder, lines)
    return folder, names


@pytest.fixture(scope="module")
def looked_at(folder, tmp_path_factory):
    """The folder, its names by fault, the report, and the folder that it is in."""
    photos, names = folder
    out = tmp_path_factory.mktemp("looked") / "out"
    return photos, names, run(photos, out, "--apply"), out


def found(report, name):
    (finding,) = [each for each in report["findings"] if each["name"] == name]
    assert finding["count"] == len(finding["records"])
    return [record["file_name"] for record in finding["records"]]


def test_all_copies_places_and_blurred_images_are_found_and_no_others(looked_at):
    _, names, report, _ = looked_at
    leaks, copies = found(report, "leak"), found(report, "near_copy")
    assert sorted(leaks) == ["good_0.jpg", "good_1.jpg"]  # the copies in val stay
    originals = {f"good_{number}.jpg" for number in range(2, 5)}
    assert len(copies) == 3 and set(copies) <= originals | set(names["copies"])
    assert sorted(found(report, "place")) == names["places"]
    assert sorted(found(report, "blurred")) == sorted(names["blurred"])
    assert found(report, "perhaps_copy") == []


def test_other_faults_of_images_are_found(looked_at):
    report = looked_at[2]
    assert found(report, "dark") == ["dark.jpg"]
    assert found(report, "tiny") == ["tiny.jpg"]
    assert found(report, "narrow") == ["narrow.jpg"]
    assert sorted(found(report, "plain")) == ["plain.jpg", "plain_too.jpg"]


def test_where_all_images_are_small_none_is_called_tiny(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    sizes = [(32, 32), (30, 40), (32, 32), (12, 12)]
    for number, size in enumerate(sizes):
        planted.photo(number, size).save(photos / f"{number}.png")
    planted.write(photos, [{"file_name": f"{n}.png", "text": "a red cup"} for n in range(4)])
    assert found(run(photos, tmp_path / "out"), "tiny") == ["3.png"]


def test_what_is_damaged_or_missing_is_named_and_not_fatal(looked_at):
    reasons = {each["file_name"]: each["reason"] for each in looked_at[2]["unusable"]["records"]}
    assert reasons == {
        "missing.jpg": "missing file",
        "cut.jpg": "truncated or damaged",
        "text.jpg": "not an image",
    }


def test_shared_captions_and_pairs_are_those_of_the_training_split(looked_at):
    _, names, report, _ = looked_at
    captions = sum(map(len, names.values())) - 2 + 5 + 2  # without val, with others, damaged too
    assert report["texts"]["learned"] == {"split": "train", "captions": captions}
    assert report["pairs"]["split"] == "train" and report["pairs"]["images"] == captions


def test_the_largest_copy_stays(looked_at):
    report = looked_at[2]
    (finding,) = [each for each in report["findings"] if each["name"] == "near_copy"]
    pairs = {record["file_name"]: record["of"]["file_name"] for record in finding["records"]}
    assert pairs["copies_4.jpg"] == "good_4.jpg"  # that one was cut smaller


def test_no_file_is_changed_and_without_apply_nothing_else_is_written(folder, tmp_path):
    photos, _ = folder
    before, beside = files.digest(photos), sorted(photos.parent.iterdir())
    run(photos, tmp_path / "out")
    assert files.digest(photos) == before and sorted(photos.parent.iterdir()) == beside
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "clean.html",
        "clean.json",
    ]


def test_the_same_folder_gives_the_same_bytes(looked_at, tmp_path):
    photos, _, _, out = looked_at
    run(photos, tmp_path / "again", "--apply", "--workers", "2")
    for name in ("clean.html", "clean.json", "exclusions.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_prepare_leaves_out_what_the_list_names_and_says_so(looked_at, tmp_path, capsys):
    photos, names, report, out = looked_at
    given = ["--images", str(photos), "--captions", str(photos / "metadata.jsonl")]
    prepare.main(
        ["folder", *given, "--out", str(tmp_path / "data"), "--exclude"]
        + [str(out / "exclusions.jsonl"), "--workers", "1", "--max_bad", "0.02"]
    )
    said = capsys.readouterr().out
    excluded = store.read_meta(tmp_path / "data")["excluded"]
    assert excluded["records"] == report["excluded"] == 5 + 20 + 1 + 1 + 1 + 2 + 2 + 1
    assert excluded["reasons"]["blurred"] == 20 and excluded["reasons"]["near-copy"] == 5
    assert "left out 20: excluded as blurred: " in said
    again = run(photos, tmp_path / "again")
    assert again["data"]["images"] - excluded["records"] == sum(
        store.read_meta(tmp_path / "data")["splits"].values()
    )
    clean.main(["--data", str(tmp_path / "data"), "--workers", "1"])
    after = json.loads((tmp_path / "data.clean" / "clean.json").read_text())
    for name in ("leak", "near_copy", "blurred", "dark", "tiny", "narrow", "plain", "place"):
        assert found(after, name) == [], name


class Page(html.parser.HTMLParser):
    """The numbers in <data> elements, the text outside of them, and what the page asks for."""

    def __init__(self, text):
        super().__init__()
        self.numbers, self.text, self.asks, self.tags = [], [], [], set()
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        self.tags.add(tag)
        named = dict(attrs)
        if tag == "data":
            self.numbers.append(float(named["value"]))
        self.asks += [named[name] for name in ("src", "href") if name in named]

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("data", "style"):
            self.text.append(data)


def leaves(value):
    if isinstance(value, dict):
        return [leaf for each in value.items() for part in each for leaf in leaves(part)]
    if isinstance(value, list | tuple):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]


def test_every_number_on_the_page_stands_in_the_json(looked_at):
    _, _, report, out = looked_at
    page = Page((out / "clean.html").read_text())
    known = leaves(report)
    assert len(page.numbers) > 50
    assert set(page.numbers) <= {float(each) for each in known if isinstance(each, int | float)}
    text = " ".join(page.text)
    fixed = [printable(each) for each in leaves([report, WORDING]) if isinstance(each, str)]
    for each in sorted(fixed, key=len, reverse=True):
        text = text.replace(each, "") if each else text
    assert re.findall(r"\d+", text) == []


def test_the_page_is_alone_shows_pictures_without_metadata_and_runs_nothing(looked_at):
    text = (looked_at[3] / "clean.html").read_text()
    page = Page(text)
    images = [each for each in page.asks if each.startswith("data:image/jpeg;base64,")]
    others = [each for each in page.asks if each not in images]
    assert all(each.startswith("#") for each in others) and "script" not in page.tags
    assert len(set(images)) >= 30
    for each in set(images):
        with Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2]))) as image:
            assert not image.getexif() and "comment" not in image.info and max(image.size) <= 200


def test_strange_captions_are_shown_and_not_obeyed_and_addresses_are_not_shown(looked_at):
    _, _, report, out = looked_at
    page, numbers = ((out / name).read_text() for name in ("clean.html", "clean.json"))
    assert found(report, "personal") == ["good_9.jpg"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script>" not in page
    assert "\u202e" not in page and "me@example.com" not in page + numbers


def test_an_edited_list_is_never_overwritten(looked_at, capsys):
    photos, _, _, out = looked_at
    with pytest.raises(SystemExit, match="2"):
        run(photos, out, "--apply")
    assert "may have been edited" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "give --data DIR, or --captions FILE"),
        (["--data", "a", "--captions", "b"], "give --data DIR, or --captions FILE"),
        (["--data", "a", "--images", "b"], "--images belongs to --captions"),
        (["--data", "nothing_here"], "no prepared data set here"),
        (["--captions", "nothing_here.csv"], "no such file"),
    ],
)
def test_what_is_missing_is_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        clean.main(arguments)
    error = capsys.readouterr().err
    assert said in error and error.startswith("jaxvl: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["jinja2", "imagehash"])
def test_a_package_that_is_missing_is_named_before_the_work(module, folder, tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: None if name == module else there(name, *of)
    )
    with pytest.raises(SystemExit, match="2"):
        run(folder[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_else_is_left_alone(folder, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        run(folder[0], tmp_path)
    assert "holds no report" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "given, beside",
    [("photos", "photos.clean"), ("a/set.tar", "a/set.tar.clean"), ("a/{0..2}.tar", "a.clean")],
)
def test_the_report_lies_beside_the_data(given, beside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "set.tar").write_bytes(b"")
    assert str(clean._beside(given)) == beside
    monkeypatch.chdir(tmp_path / "photos")
    assert clean._beside(".") == tmp_path / "photos.clean"


def test_a_folder_of_damaged_images_alone_is_refused(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"no image")
    planted.write(photos, [{"file_name": "a.jpg", "text": "a cup"}])
    with pytest.raises(SystemExit, match="2"):
        run(photos, tmp_path / "out")
    assert "no image of it can be read" in capsys.readouterr().err
    shutil.rmtree(photos)
    assert list(tmp_path.iterdir()) == []
