"""CLIP's BPE: the ids that its files define, and captions read as they are written."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError

TEXTS = [
    "A photo of a cat!!!",
    "it's 42 CAFÉS, naïve 😀",
    "  two\tdogs \n run-fast ",
    "",
    "中文 ' x'll",
]
START, END = 517, 518  # behind 256 letters, the same at the end of a word, and five merges


def encode(words, captions, max_tokens=16):
    return tokenizer.encode(words, captions, max_tokens=max_tokens, max_words=2, add_sep=True)


def assert_transformers_agrees(words):
    from transformers import CLIPTokenizer

    model = json.loads(words.to_str())["model"]
    peer = CLIPTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    tokens = encode(words, TEXTS, max_tokens=77)
    for text, ids, mask in zip(TEXTS, tokens.ids, tokens.mask):
        assert ids[mask].tolist() == peer(text)["input_ids"]


@pytest.fixture(scope="module")
def merges(tmp_path_factory):
    """A list of five merges, in the form in which OpenAI publishes CLIP's."""
    path = tmp_path_factory.mktemp("merges") / "list.txt.gz"
    lines = ['"list.txt#version: 0.2', "a t</w>", "p h", "ph o", "c at</w>", "! !</w>"]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


def test_the_order_of_the_merges_gives_the_ids(merges):
    words = tokenizer.load(merges)
    assert words.get_vocab_size() == 519
    assert tokenizer.special_ids(words) == (END, START, END, -1)
    letters = {"p": 79, "h": 71, "a</w>": 256 + 64, "o</w>": 256 + 78}  # "!" is 0, "a" is 64
    assert {word: words.token_to_id(word) for word in letters} == letters
    assert [words.token_to_id(word) for word in ("at</w>", "ph", "pho", "cat</w>", "!!</w>")] == [
        *range(512, 517)
    ]
    ids = encode(words, ["A Cat!!"]).ids[0, :6]
    np.testing.assert_array_equal(ids, [START, 320, 515, 516, END, END])


def test_the_ids_are_those_of_transformers(merges):
    assert_transformers_agrees(tokenizer.load(merges))


def test_extra_the_published_ids():
    """An extra: it needs OpenAI's published list of merges."""
    published = Path(__file__).parents[4] / "shared/data/vocab/bpe_simple_vocab_16e6.txt.gz"
    if not published.is_file():
        pytest.skip(f"{published} is not here")
    words = tokenizer.load(published)
    assert words.get_vocab_size() == 49_408
    assert tokenizer.special_ids(words) == (49_407, 49_406, 49_407, -1)
    ids = encode(words, ["A photo of a Cat!!!"]).ids[0, :8]
    np.testing.assert_array_equal(ids, [49_406, 320, 1125, 539, 320, 2368, 995, 49_407])
    assert_transformers_agrees(words)


@pytest.fixture
def folder(tmp_path):
    """CLIP's files in small: letters, one merge, the two special tokens."""
    letters = "abcdefnotx!,|<>"
    words = [*letters, *(f"{x}</w>" for x in letters), "at</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na t</w>\n")
    return tmp_path


def texts(words, ids):
    return [words.id_to_token(int(number)) for number in ids]


def test_a_hugging_face_folder_with_or_without_tokenizer_json(folder):
    words = tokenizer.load(folder)
    tokens = encode(words, ["Cat!"], max_tokens=6)
    assert texts(words, tokens.ids[0]) == [
        "<|startoftext|>",
        "c",
        "at</w>",
        "!</w>",
        "<|endoftext|>",
        "<|endoftext|>",
    ]
    assert tokens.mask[0].tolist() == [True] * 5 + [False]
    assert tokens.words[0].tolist() == [-1, 0, 0, 0, -1, -1]
    words.save(str(folder / "tokenizer.json"))
    (folder / "vocab.json").write_text("{}")  # the whole file comes first
    np.testing.assert_array_equal(
        encode(tokenizer.load(folder), ["Cat!"]).ids[0, :6], tokens.ids[0]
    )


def test_captions_are_not_cleaned_nor_truncated_by_words(folder):
    words = tokenizer.load(folder)
    tokens = encode(words, ["a b! \n a, c b"])
    assert tokens.words[0, :9].tolist() == [-1, 0, 1, 1, 2, 2, 3, 4, -1]


def test_what_is_too_long_is_truncated_and_the_end_stays(folder):
    words = tokenizer.load(folder)
    tokens = encode(words, ["a b c " * 100], max_tokens=4)
    assert texts(words, tokens.ids[0]) == ["<|startoftext|>", "a</w>", "b</w>", "<|endoftext|>"]


def test_a_caption_cannot_end_itself(folder):
    words = tokenizer.load(folder)
    tokens = encode(words, ["a <|endoftext|> b"], max_tokens=24)
    read = texts(words, tokens.ids[0][tokens.mask[0]])
    assert read.index("<|endoftext|>") == len(read) - 1 and "<" in read


def test_files_of_another_bpe_are_refused(folder):
    (folder / "vocab.json").write_text(json.dumps({"<s>": 0, "a": 1}))
    with pytest.raises(UserError, match=r"has no <\|startoftext\|> and <\|endoftext\|>"):
        tokenizer.load(folder)
