"""Tokenizers: training, loading, and which word each token belongs to."""

import subprocess
import sys

import numpy as np
import pytest
import tokenizers

from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError

CAPTIONS = ["A red cube is left of a blue sphere.", "the cubes", "Red spheres, blue cubes!"] * 5


@pytest.fixture(scope="module")
def trained():
    return tokenizer.train(CAPTIONS, vocabulary_size=80)


def encode(trained, captions, max_tokens=12, max_words=30, add_sep=False):
    return tokenizer.encode(
        trained, captions, max_tokens=max_tokens, max_words=max_words, add_sep=add_sep
    )


def text(trained, ids):
    return [trained.id_to_token(int(token_id)) for token_id in ids]


def test_the_special_tokens_have_berts_order(trained):
    assert text(trained, range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.special_ids(trained) == (0, 2, 3, 4)


def test_layout(trained):
    tokens = encode(trained, ["Red cube!"], max_tokens=5)
    assert text(trained, tokens.ids[0]) == ["[CLS]", "red", "cube", "[PAD]", "[PAD]"]
    assert tokens.mask.tolist() == [[True, True, True, False, False]]
    assert tokens.words.tolist() == [[-1, 0, 1, -1, -1]]
    assert tokens.ids.dtype == tokens.words.dtype == np.int32 and tokens.mask.dtype == bool


def test_layout_with_sep(trained):
    tokens = encode(trained, ["Red cube!"], max_tokens=5, add_sep=True)
    assert text(trained, tokens.ids[0]) == ["[CLS]", "red", "cube", "[SEP]", "[PAD]"]
    assert tokens.words.tolist() == [[-1, 0, 1, -1, -1]]


def test_what_does_not_fit_is_truncated_and_sep_stays(trained):
    tokens = encode(trained, ["red cube " * 5_000], max_tokens=4, max_words=30, add_sep=True)
    assert text(trained, tokens.ids[0]) == ["[CLS]", "red", "cube", "[SEP]"]


def test_max_words_counts_words(trained):
    tokens = encode(trained, ["red cube blue sphere"], max_words=2)
    assert tokens.mask.sum() == 3


@pytest.mark.parametrize("caption", ["", "?!", " \n"])
def test_an_empty_caption_is_cls_alone(trained, caption):
    tokens = encode(trained, [caption])
    assert text(trained, tokens.ids[0][:2]) == ["[CLS]", "[PAD]"]
    assert tokens.mask.sum() == 1 and (tokens.words == -1).all()


def test_pieces_of_a_word_share_its_index(trained):
    caption = "blue bluish-cubes, 🐕 red"  # cleaned: blue bluish cubes 🐕 red
    tokens = encode(trained, [caption], max_tokens=20)
    words = tokens.words[0][tokens.mask[0]].tolist()
    pieces = text(trained, tokens.ids[0][tokens.mask[0]])
    assert words[0] == -1 and words == sorted(words)
    joined = [
        "".join(p.removeprefix("##") for p, w in zip(pieces, words) if w == j) for j in range(5)
    ]
    assert joined == ["blue", "bluish", "cubes", "[UNK]", "red"]
    assert len(pieces) > 6  # some word did split


def test_words_of_a_byte_level_tokenizer():
    """Its tokens begin with the space before their word: the index must not slip by one."""
    byte_level = tokenizers.ByteLevelBPETokenizer()
    byte_level.train_from_iterator(
        ["red cube red cube"],
        vocab_size=300,
        min_frequency=1,
        special_tokens=["<s>", "</s>", "<pad>"],
    )
    loaded = tokenizers.Tokenizer.from_str(byte_level.to_str())
    tokens = encode(loaded, ["red cube red cube"])
    assert tokens.words[0][tokens.mask[0]].tolist()[:1] == [-1]
    pieces, words = text(loaded, tokens.ids[0]), tokens.words[0].tolist()
    for index, word in enumerate(["red", "Ġcube", "Ġred", "Ġcube"]):
        assert "".join(p for p, w in zip(pieces, words) if w == index) == word


def test_training_is_the_same_in_every_process(trained):
    """The library's own trainer is not: its hash maps are seeded anew in each process."""
    code = (
        "from jaxvl.data.text import tokenizer as t; import sys; "
        f"sys.stdout.write(t.train({CAPTIONS!r}, vocabulary_size=80).to_str())"
    )
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert run.stdout.decode() == trained.to_str()


def test_rare_characters_do_not_crowd_out_the_words():
    signs = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 500))
    found = tokenizer.train([*CAPTIONS, signs], vocabulary_size=160)
    assert found.get_vocab_size() <= 160
    assert found.token_to_id("cube") is not None


def test_a_word_of_a_megabyte_is_unknown_and_leaves_the_vocabulary_as_it_was(trained):
    """Training on it would take time quadratic in its length."""
    endless = "x" * 2**20
    found = tokenizer.train([*CAPTIONS, endless], vocabulary_size=80)
    assert found.to_str() == trained.to_str()
    assert text(found, encode(found, [endless]).ids[0][:3]) == ["[CLS]", "[UNK]", "[PAD]"]


def test_saved_and_loaded_from_file_and_folder(trained, tmp_path):
    trained.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        assert tokenizer.load(path).to_str() == trained.to_str()


def test_a_file_s_own_truncation_and_padding_are_taken_off(trained, tmp_path):
    short = tokenizers.Tokenizer.from_str(trained.to_str())
    short.enable_truncation(2)
    short.enable_padding(length=9)
    short.save(str(tmp_path / "tokenizer.json"))
    tokens = encode(tokenizer.load(tmp_path), ["red cube blue sphere"])
    assert tokens.mask.sum() == 5


def test_bert_s_vocabulary_file(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "cube", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    tokens = encode(tokenizer.load(tmp_path), ["red cubes"])
    assert tokens.ids[0, :5].tolist() == [2, 5, 6, 7, 0]


def test_a_name_in_the_local_cache(trained, tmp_path, monkeypatch):
    import huggingface_hub.constants

    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    trained.save(str(snapshot / "tokenizer.json"))
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert tokenizer.load("some/model").to_str() == trained.to_str()


def test_an_unknown_name_is_refused_with_the_command_that_fetches_it():
    with pytest.raises(UserError, match=r"no/such-model.*save_pretrained\('FOLDER'\)"):
        tokenizer.load("no/such-model")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="tokenizer.json: not a tokenizer file"):
        tokenizer.load(tmp_path)


def test_a_tokenizer_without_a_first_token_is_refused():
    bare = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(UserError, match=r"has none of \[CLS\]"):
        encode(bare, ["a"])


def test_max_tokens_must_leave_room(trained):
    with pytest.raises(UserError, match="data.max_tokens: 2"):
        encode(trained, ["a"], max_tokens=2, add_sep=True)
