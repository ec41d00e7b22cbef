"""Captions of a folder: how they are read is chosen, stored and reported; what is lost stops it."""

import json

import pytest
from photo_folder import fill, prepare, write_jsonl

from jaxvl.data import sources, store, texts
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError
from jaxvl.training import experiment

JAPANESE = ["赤いマグカップ", "青い皿の上の白い花", "パンを持つ男性", "バンに乗る男性"]


def prepare_texts(tmp_path, captions, **options):
    lines = fill(tmp_path / "images", [f"{number}.jpg" for number in range(len(captions))])
    lines = [{**line, "text": text} for line, text in zip(lines, captions)]
    return prepare(tmp_path, write_jsonl(tmp_path / "m.jsonl", lines), **options)


def meta(tmp_path):
    return json.loads((tmp_path / "out" / "jaxvl.json").read_text())


def test_japanese_is_read_by_words_and_bytes_and_a_run_knows_it(tmp_path, tiny_config):
    pytest.importorskip("sudachipy", reason="the extra [japanese] is not installed")
    summary = prepare_texts(tmp_path, JAPANESE * 3)
    assert meta(tmp_path)["words"] == store.words_of(tmp_path / "out") == "japanese"
    assert "words: japanese" in summary and "pieces of bytes" in summary and "Hiragana" in summary
    trained = tokenizer.load(tmp_path / "out")
    assert trained.encode("パン").ids != trained.encode("バン").ids
    tiny_config.data.dir = str(tmp_path / "out")
    basis = experiment.open_basis(tiny_config)
    assert basis.config.data.words == "japanese"
    other = tmp_path / "other"
    other.mkdir()
    prepare_texts(other, ["a dog", "a cat"])
    config = basis.config.copy_and_resolve_references().unlock()
    experiment.use_data(config, other / "out")
    assert config.data.words == "japanese"  # of the run, whatever it is evaluated on


def test_english_stores_no_words(tmp_path):
    prepare_texts(tmp_path, ["a dog", "a cat"])
    assert "words" not in meta(tmp_path) and store.words_of(tmp_path / "out") == ""


def test_what_is_asked_for_is_stored(tmp_path):
    prepare_texts(tmp_path, ["a dog", "a cat"], words="characters", vocabulary="bytes")
    assert meta(tmp_path)["words"] == "characters"


def test_a_missing_segmenter_is_named_before_any_image_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("jaxvl.data.folder.prepare._check_images", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=r"sudachipy.*jaxvl\[japanese\]"):
        prepare_texts(tmp_path, JAPANESE)


def test_captions_that_read_alike_stop_it_as_bad_images_do(tmp_path):
    captions = ["a dog in the snow", *"パバハ"]
    options = dict(vocabulary="wordpiece", words="blanks", vocabulary_size=20)
    with pytest.raises(UserError, match="captions .* --vocabulary bytes reads every character"):
        prepare_texts(tmp_path, captions, max_bad=0.1, **options)
    assert not (tmp_path / "out").exists()
    summary = prepare_texts(tmp_path, captions, max_bad=1.0, **options)
    assert "captions cannot be read, or not be told from others" in summary


def test_a_run_says_what_its_limits_and_vocabulary_do_to_captions(tmp_path, tiny_config):
    data = tiny_config.data
    prepare_texts(tmp_path, ["a dog in the snow", "a cat"], vocabulary_size=80)
    source = sources.open_prepared(tmp_path / "out", split="train")
    trained = tokenizer.load(tmp_path / "out")
    data.max_tokens, data.max_words = 40, 30
    assert texts.notes(source, trained, data) == []
    data.max_words = 3
    (cut,) = texts.notes(source, trained, data)
    assert cut.endswith("50% of the captions are cut (data.max_tokens=40, data.max_words=3)")
    other = tokenizer.train(["パン"], vocabulary_size=20)
    _, unknown, lost = texts.notes(source, other, data)
    assert "100% of the tokens are not in the vocabulary" in unknown
    assert "2 of 2 captions are not told from others" in lost
