"""Captions of any language: how they are read, divided into words, and reported."""

import json
import subprocess
import sys
import unicodedata

import pytest

from jaxvl.data.text import report, scripts, tokenizer, words
from jaxvl.errors import UserError

ENGLISH = ["A red cup beside a blue plate.", "Two dogs on the grass, near a café."] * 20
JAPANESE = [
    "赤いマグカップ",
    "木製のテーブルの上に置かれた白い皿",
    "パンを持って立っている男性",
    "青いバンとガラスの花瓶",
] * 5


def read(captions, new=None, *, max_tokens=25, max_words=30, vocabulary_size=600, **wanted):
    """Returns (tokenizer, its Reading, Tokens of `new`) of a vocabulary trained on captions."""
    reading = scripts.reading_of(captions, **wanted)
    trained = tokenizer.train(captions, vocabulary_size=vocabulary_size, reading=reading)
    tokens = tokenizer.encode(
        trained,
        captions if new is None else new,
        max_tokens=max_tokens,
        max_words=max_words,
        add_sep=False,
        words=reading.words,
    )
    return trained, reading, tokens


def rows(tokens):
    return [tuple(ids[mask].tolist()) for ids, mask in zip(tokens.ids, tokens.mask)]


def test_english_is_read_as_before_and_an_accent_now_and_then_changes_nothing():
    trained, reading, _ = read(ENGLISH[:2] + ["a dog " * 100] * 10)
    assert reading == scripts.ENGLISH
    assert json.loads(trained.to_str())["normalizer"] == {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }


@pytest.mark.parametrize(
    "different",
    [
        ["パン", "バン", "ハン"],
        ["ガラス", "カラス"],
        ["เสือ", "เสื้อ", "เสื่อ"],
        ["bán", "bàn", "bạn", "ban"],
        ["कुल", "कूल"],
        ["schon", "schön"],
        ["컵", "컥"],
        ["1.5L", "15L", "1/5L", "赤い 15l"],
    ],
)
def test_marks_and_tones_tell_words_apart(different):
    _, _, tokens = read([*different, "赤いコップ" if different[0] == "1.5L" else ""] * 5, different)
    assert len(set(rows(tokens))) == len(different)


@pytest.mark.parametrize(
    "same",
    [
        ["ガラス", "ｶﾞﾗｽ"],
        ["赤い皿", "赤い 皿"],
        ["赤いＣＵＰ", "赤いcup"],
        ["赤い、皿。", "赤い 皿"],
        ["bàn", "Bàn!"],
    ],
)
def test_one_word_has_one_reading_however_it_is_typed(same):
    same = [*same, *(unicodedata.normalize("NFD", text) for text in same)]
    _, _, tokens = read(same * 5, same)
    assert len(set(rows(tokens))) == 1


@pytest.mark.parametrize(
    "captions, found",
    [
        (ENGLISH, ("blanks", "wordpiece", True)),
        (["Un chien très gentil à côté d'un vélo"], ("blanks", "wordpiece", True)),
        (["красная чашка на столе"], ("blanks", "wordpiece", True)),
        (JAPANESE, ("japanese", "bytes", True)),
        (["MUG CUP 350ml 赤", "PLATE 20cm 白"], ("chinese", "bytes", True)),
        (["一个红色的杯子放在木桌上"], ("chinese", "bytes", True)),
        (["เสื้อสีแดงวางบนโต๊ะ"], ("thai", "bytes", True)),
        (["ຈອກສີແດງ"], ("characters", "bytes", True)),
        (["빨간 컵이 탁자 위에 있다"], ("blanks", "bytes", True)),
    ],
)
def test_the_script_decides_how_captions_are_read(captions, found):
    assert scripts.reading_of(captions) == found


def test_what_is_asked_for_is_taken():
    assert scripts.reading_of(JAPANESE, words="characters", vocabulary="wordpiece") == (
        "characters",
        "wordpiece",
        True,
    )


@pytest.mark.parametrize(
    "name, text, found",
    [
        ("blanks", "a red  cup.", ["a", "red", "cup."]),
        ("japanese", "赤いマグカップ", ["赤い", "マグカップ"]),
        (
            "japanese",
            "パンを持って、立っている男性。",
            ["パン", "を", "持って", "立っている", "男性"],
        ),
        ("japanese", "皿が3枚重なっている", ["皿", "が", "3枚", "重なっている"]),
        ("japanese", "ステンレス製ボトル red cup", ["ステンレス製", "ボトル", "red", "cup"]),
        ("chinese", "红色的杯子。", ["红色", "的", "杯子"]),
        ("thai", "เสื้อสีแดง", ["เสื้อ", "สีแดง"]),
        ("characters", "ຈອກ ສີ", ["ຈ", "ອ", "ກ", "ສີ"]),
    ],
)
def test_words(name, text, found):
    assert words.words_of(text, name) == found


def test_each_token_belongs_to_a_word_and_max_words_cuts():
    text = "木製のテーブルの上に置かれた白い皿"
    _, _, tokens = read(JAPANESE, [text, text], max_words=30)
    whole = tokens.words[0][tokens.mask[0]].tolist()
    assert whole[0] == -1 and sorted(set(whole)) == [-1, *range(9)] and whole == sorted(whole)
    _, _, cut = read(JAPANESE, [text], max_words=3)
    assert cut.words.max() == 2
    assert rows(cut)[0] == rows(tokens)[0][: len(rows(cut)[0])]


def test_tokens_do_not_depend_on_the_segmenter():
    trained, _, tokens = read(JAPANESE)
    other = tokenizer.encode(
        trained, JAPANESE, max_tokens=25, max_words=30, add_sep=False, words="characters"
    )
    assert rows(tokens) == rows(other)


def test_captions_without_blanks_are_read_however_long():
    long = [caption * 30 for caption in JAPANESE]
    trained, _, tokens = read(long)
    assert len(set(rows(tokens))) == len(set(long))
    assert trained.token_to_id("[UNK]") not in tokens.ids
    assert trained.decode([int(tokens.ids[0, 1])]) == "赤い"


def test_any_character_is_read_by_bytes():
    trained, _, tokens = read(JAPANESE, ["𠮷野家 🐕 ξ", "ܐ"])
    assert trained.token_to_id("[UNK]") not in tokens.ids
    assert trained.decode(tokens.ids[0][tokens.mask[0]].tolist()) == "𠮷野家 🐕 ξ"
    assert trained.decode(tokens.ids[1][tokens.mask[1]].tolist()) == "ܐ"


def test_a_vocabulary_of_bytes_is_the_same_in_every_process():
    code = (
        "from jaxvl.data.text import tokenizer as t, scripts as s; import sys; "
        f"c = {JAPANESE!r}; "
        "sys.stdout.write(t.train(c, vocabulary_size=600, reading=s.reading_of(c)).to_str())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout.decode() == read(JAPANESE)[0].to_str()


def test_a_segmenter_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sudachipy.*pip install 'jaxvl\[japanese\]'"):
        scripts.check_installed("japanese")
    scripts.check_installed("characters")


def test_what_cannot_be_read_or_told_apart_is_counted():
    captions = ["パン", "バン", "A dog.", "a dog", "🐕", "🐈", "赤い皿"]
    english = tokenizer.train(["a dog"] * 3, vocabulary_size=60)
    found = report.report_on(english, captions, scripts.ENGLISH)
    assert found.lost == 4  # パン and バン, the animals, the plate; one of each stays
    assert found.unknown > 0.5 and found.example
    with pytest.raises(UserError, match="4 of 7 captions .* nothing was written"):
        report.refuse_if_lost(found, max_bad=0.5)
    report.refuse_if_lost(found, max_bad=0.6)
    trained, reading, _ = read(captions)
    assert report.report_on(trained, captions, reading).lost == 0
