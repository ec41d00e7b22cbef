"""A table as other programs write it is read, or told what is wrong in words that quote it."""

import gzip
import json
import unicodedata

import pytest
from photo_folder import fill, prepare, report, stored, write_jsonl

from jaxvl.data import store
from jaxvl.errors import UserError

NAMES = ["a.jpg", "b.jpg"]
TEXTS = {"a.jpg": ["a cup, red"], "b.jpg": ["two cups"]}


def captions(tmp_path):
    """{file name: captions} of what was stored in split train."""
    return {name: record["captions"] for name, record in stored(tmp_path).items()}


def prepared(tmp_path, name, content, encoding="utf-8", **changes):
    """Writes a table and prepares it; returns (captions, summary)."""
    fill(tmp_path / "images", NAMES)
    table = tmp_path / name
    table.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    summary = prepare(tmp_path, table, val_share=0, **changes)
    return captions(tmp_path), summary


# --- CSV and TSV

COMMA = 'file_name,caption\na.jpg,"a cup, red"\nb.jpg,two cups\n'


@pytest.mark.parametrize(
    "name, content, encoding",
    [
        ("c.csv", COMMA, "utf-8"),
        ("c.csv", COMMA, "utf-8-sig"),
        ("c.csv", COMMA, "utf-16"),
        ("c.csv", COMMA, "utf-16-le"),
        ("c.csv", COMMA, "utf-16-be"),
        ("c.csv", COMMA.replace("\n", "\r\n"), "utf-8"),
        ("c.csv", COMMA.replace("\n", "\r"), "utf-8"),
        ("c.csv", COMMA.replace("\n", "\n\n"), "utf-8"),
        ("c.csv", "file_name;caption\na.jpg;a cup, red\nb.jpg;two cups\n", "utf-8"),
        ("c.csv", "file_name|caption\na.jpg|a cup, red\nb.jpg|two cups\n", "utf-8"),
        ("c.csv", "sep=;\nfile_name;caption\na.jpg;a cup, red\nb.jpg;two cups\n", "utf-8"),
        ("c.csv", "file_name\tcaption\na.jpg\ta cup, red\nb.jpg\ttwo cups\n", "utf-8"),
        ("c.tsv", "filepath\ttitle\nimages/a.jpg\ta cup, red\nimages/b.jpg\ttwo cups\n", "utf-8"),
        ("c.CSV", COMMA, "utf-8"),
        ("c.csv", 'File_Name, Caption \na.jpg, "a cup, red"\nb.jpg , two cups\n', "utf-8"),
        ("c.csv", ',image,Text\n0,a.jpg,"a cup, red"\n1,b.jpg,two cups\n', "utf-8"),
    ],
)
def test_dialects_of_csv(tmp_path, name, content, encoding):
    assert prepared(tmp_path, name, content, encoding)[0] == TEXTS


def test_quotes_are_ordinary_letters_where_tabs_separate(tmp_path):
    lines = 'file_name\ttext\na.jpg\t"STOP" is written on it\nb.jpg\ta 5" pipe\n'
    found, _ = prepared(tmp_path, "c.tsv", lines)
    assert found == {"a.jpg": ['"STOP" is written on it'], "b.jpg": ['a 5" pipe']}


def test_shift_jis_as_excel_writes_it(tmp_path):
    found, _ = prepared(
        tmp_path, "c.csv", "file_name,text\na.jpg,赤いマグカップ\nb.jpg,皿が二枚\n", "cp932"
    )
    assert found == {"a.jpg": ["赤いマグカップ"], "b.jpg": ["皿が二枚"]}


def test_bytes_that_are_no_text_are_named_with_what_to_do(tmp_path):
    prepared(tmp_path, "c.csv", "file_name,text\na.jpg,café\nb.jpg,two cups\n", "latin-1")
    (problem,) = report(tmp_path)
    assert problem["record"] == "c.csv:2" and problem["left_out"]
    assert problem["reason"] == "not valid Unicode text (save the table as UTF-8)"


@pytest.mark.parametrize(
    "cell",
    ["['a cup', 'it''s red']", '["a cup", "it\'s red"]', '["a cup", "it\'s red",]',
     "['a cup' \"it's red\"]", "['a cup'\n \"it's red\"]", "('a cup', \"it's red\")"],
)  # fmt: skip
def test_a_list_as_python_prints_it(tmp_path, cell):
    cell = cell.replace("''", "\\'").replace('"', '""')
    found, _ = prepared(tmp_path, "c.csv", f'file_name,captions\na.jpg,"{cell}"\n')
    assert found == {"a.jpg": ["a cup", "it's red"]}


@pytest.mark.parametrize("cell", ["['cut', 'of", "['a', 3]", "['a'] and more", "['\\x']"])
def test_what_begins_like_a_list_is_never_stored_as_a_caption(tmp_path, cell):
    found, _ = prepared(tmp_path, "c.csv", f'file_name,text\na.jpg,"{cell}"\nb.jpg,two cups\n')
    assert list(found) == ["b.jpg"]
    assert report(tmp_path)[0]["reason"].startswith(("captions look like", "captions are not"))


@pytest.mark.parametrize("cell", ["[photo] of a dog", "(a dog)", "('nuff said", "[?]"])
def test_brackets_alone_make_no_list(tmp_path, cell):
    found, _ = prepared(tmp_path, "c.csv", f"file_name,text\na.jpg,{cell} dog\n")
    assert found == {"a.jpg": [f"{cell} dog"]}


def test_numbered_columns_are_all_taken(tmp_path):
    table = "image,caption_1,caption_2,url\na.jpg,one,two,http\nb.jpg,three,,http\n"
    found, summary = prepared(tmp_path, "c.csv", table)
    assert found == {"a.jpg": ["one", "two"], "b.jpg": ["three"]}
    assert report(tmp_path) == [] and "\n  columns not read: url\n" in f"{summary}\n"


def test_another_caption_column_is_named_as_not_read(tmp_path):
    table = "file_name,text,title\na.jpg,one,another\n"
    found, summary = prepared(tmp_path, "c.csv", table)
    assert found == {"a.jpg": ["one"]} and "columns not read: title" in summary


def test_a_row_of_another_length_says_how_many_cells_it_has(tmp_path):
    prepared(tmp_path, "c.csv", "file_name,text\na.jpg,a cup, red\nb.jpg,two cups\n")
    (problem,) = report(tmp_path)
    assert problem["path"] == "a.jpg" and "(3, not 2;" in problem["reason"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("url;alt\nhttp;x\n", "columns are 'url', 'alt', separated by ';'; needed: file_name"),
        ("file_name\na.jpg\n", "columns are 'file_name', .*needed: file_name, one of captions"),
        ("a.jpg,a red cup\n", "columns are 'a.jpg', 'a red cup', .*the first line must name them"),
        ("\n", "columns are missing"),
    ],
)
def test_a_header_that_is_not_understood_is_quoted(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, "c.csv", content)


# --- JSON


LIST = [{"file_name": "a.jpg", "text": "a cup, red"}, {"file_name": "b.jpg", "text": "two cups"}]


@pytest.mark.parametrize(
    "name, content",
    [
        ("m.json", json.dumps(LIST)),
        ("m.json", json.dumps(LIST, indent=2)),
        ("m.json", json.dumps({"a.jpg": "a cup, red", "b.jpg": ["two cups"]})),
        ("m.json", "\n".join(map(json.dumps, LIST))),
        ("m.jsonl", "\n".join(map(json.dumps, LIST))),
        ("m.ndjson", "\r\n".join(map(json.dumps, LIST)) + "\r\n\r\n"),
        ("m.json", json.dumps([{"image": x["file_name"], "caption": x["text"]} for x in LIST])),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_lists_and_lines(tmp_path, name, content, encoding):
    assert prepared(tmp_path, name, content, encoding)[0] == TEXTS


def test_records_of_one_file_in_a_json_list_merge(tmp_path):
    """As ALBEF's and BLIP's annotations have them."""
    content = json.dumps([{"image": "a.jpg", "caption": text} for text in ("one", "two")])
    assert prepared(tmp_path, "m.json", content)[0] == {"a.jpg": ["one", "two"]}


def test_a_line_may_hold_other_line_ends(tmp_path):
    text = "one\u2028two\u0085three"
    line = json.dumps({"file_name": "a.jpg", "text": text}, ensure_ascii=False)
    assert prepared(tmp_path, "m.jsonl", line)[0] == {"a.jpg": [text]}


def test_an_object_without_a_file_name_is_quoted(tmp_path):
    lines = [LIST[0], {"url": "http", "caption": "x"}]
    fill(tmp_path / "images", NAMES)
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines), val_share=0)
    assert "(its keys: 'url', 'caption')" in report(tmp_path)[0]["reason"]


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"images": [{"id": 1}], "annotations": []}', "found: 'images', 'annotations'"),
        ("3", "found: 3"),
        ("[{", "m.json: not JSON"),
        ("[" * 9999, "m.json: not JSON"),
    ],
)
def test_json_of_another_shape_is_quoted(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, "m.json", content)


# --- file names as other systems write them


@pytest.mark.parametrize("on_disk, in_table", [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_may_be_composed_otherwise(tmp_path, on_disk, in_table):
    name = "ガラス/é.jpg"
    folder = tmp_path / "images" / unicodedata.normalize(on_disk, "ガラス")
    fill(folder, [unicodedata.normalize(on_disk, "é.jpg")])
    line = {"file_name": unicodedata.normalize(in_table, name), "text": "x", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]))
    assert list(stored(tmp_path)) == [unicodedata.normalize(on_disk, name)]


@pytest.mark.parametrize(
    "given", ["sub\\a.jpg", "images/sub/a.jpg", ".\\images\\sub\\a.jpg", "ABS"]
)
def test_paths_of_windows_and_from_above_the_folder(tmp_path, given):
    fill(tmp_path / "images" / "sub", ["a.jpg"])
    given = str(tmp_path / "images" / "sub" / "a.jpg") if given == "ABS" else given
    line = {"file_name": given, "text": "x", "split": "train"}
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", [line]))
    assert list(stored(tmp_path)) == ["sub/a.jpg"]


@pytest.mark.parametrize(
    "given, reason",
    [
        ("C:\\photos\\a.jpg", "a path with a drive of Windows (make it relative to --images)"),
        ("..\\images\\a.jpg", "the path leaves the folder"),
        ("images/../../secret.jpg", "the path leaves the folder"),
        ("images/nowhere.jpg", "missing file"),
    ],
)
def test_paths_that_still_lead_nowhere(tmp_path, given, reason):
    lines = [*fill(tmp_path / "images", ["a.jpg"]), {"file_name": given, "text": "x"}]
    lines[1]["split"] = "train"
    prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert report(tmp_path)[0]["reason"] == reason


# --- names of splits


@pytest.mark.parametrize(
    "given, stored_as",
    [("training", "train"), ("Train", "train"), ("restval", "train"), ("Validation", "val"),
     ("dev", "val"), ("testing", "test"), (" TEST ", "test")],
)  # fmt: skip
def test_splits_by_their_usual_names(tmp_path, given, stored_as):
    lines = fill(tmp_path / "images", NAMES)
    lines[1]["split"] = given
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    splits = store.read_meta(tmp_path / "out")["splits"]
    assert splits == ({"train": 2} if stored_as == "train" else {"train": 1, stored_as: 1})
    assert f"\n  split {given!r} is {stored_as}" in summary


def test_splits_that_nothing_reads_by_itself_are_said(tmp_path):
    lines = fill(tmp_path / "images", NAMES)
    lines[0]["split"], lines[1]["split"] = "val", "holdout"
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert "\n  note: there is no split train, which training reads" in summary
    assert "\n  note: split holdout is read only where a command names it" in summary


# --- what no table is


def test_a_folder_with_its_metadata_is_a_table(tmp_path):
    lines = fill(tmp_path / "images", NAMES)
    write_jsonl(tmp_path / "images" / "metadata.jsonl", lines)
    prepare(tmp_path, tmp_path / "images")
    assert list(stored(tmp_path)) == NAMES


@pytest.mark.parametrize(
    "captions, message",
    [
        ("*.csv", "one table at a time; found: one.csv, two.csv"),
        ("nowhere.csv", "no such file"),
        ("x-{000..003}.tar", "no such file, and no file of that pattern"),
        ("x-{0..99999999}.tar", "more than 1,000,000 files"),
        ("one.csv.gz", "must end in .*; found: one.csv.gz"),
        ("empty", "a folder without tars, .* in it or below it; it has: notes.txt"),
    ],
)
def test_what_is_there_is_said(tmp_path, captions, message):
    fill(tmp_path / "images", NAMES)
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(COMMA)
    (tmp_path / "one.csv.gz").write_bytes(gzip.compress(COMMA.encode()))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, f"{tmp_path}/{captions}")


def test_a_name_with_terminal_escapes_is_shown_and_not_obeyed(tmp_path):
    lines = fill(tmp_path / "images", NAMES)
    lines.append({"file_name": "\x1b]0;owned\x07\n  wrote 9", "text": "x", "split": "train"})
    summary = prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines))
    assert "missing file: \\x1b]0;owned\\x07\\n  wrote 9" in summary and "\x1b" not in summary
