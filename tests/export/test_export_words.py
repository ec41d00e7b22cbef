"""What serves reads Japanese as training does: the same tokens, the same words."""

import ast
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxvl.data.images import upright
from jaxvl.data.text import scripts, tokenizer, words
from jaxvl.errors import UserError
from jaxvl.export import modeling_jaxvl, reader, serving_tokenizer

CAPTIONS = ["赤いマグカップ、白い皿。", "パンを持って立っている男性", "red cup ガラス", "", "。"]
DATA = ConfigDict({"max_tokens": 12, "max_words": 4, "add_sep": True, "words": "japanese"})


@pytest.fixture(scope="module")
def trained():
    reading = scripts.reading_of(CAPTIONS)
    return tokenizer.train(CAPTIONS * 5, vocabulary_size=400, reading=reading)


def test_plain_pytorch_reads_the_same_tokens_and_words(trained):
    special = tokenizer.special_ids(trained)._asdict()
    told = {**DATA, "cleans": tokenizer.cleans(trained), **special}
    read = reader.Reader(told, trained, words.spans_of)
    prepare = modeling_jaxvl.Prepare({}, read, upright.upright_rgb)
    found, expected = prepare.texts(CAPTIONS), tokenizer.encode(trained, CAPTIONS, **DATA)
    for name in ("ids", "mask", "words"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert found.spelt[0] == ["赤い", "マグカップ", "白い", "皿"] and found.truncated[0] == []
    assert found.spelt[1][-1] == "立っている" and found.truncated[1] == ["男性"]


def test_transformers_reads_the_same_tokens_or_is_refused(trained):
    with pytest.raises(UserError, match="data.max_words=4 .*data.max_words=10"):
        serving_tokenizer.make(trained, DATA)
    data = ConfigDict({**DATA, "max_words": 10})
    served = serving_tokenizer.make(trained, data)
    expected = tokenizer.encode(trained, CAPTIONS, **data)
    for caption, ids, mask in zip(CAPTIONS, expected.ids, expected.mask):
        found = served(caption, truncation=True)["input_ids"]
        assert found == ids[mask].tolist(), caption


@pytest.mark.parametrize(
    "module, needed",
    [
        (words, {"sudachipy", "rjieba", "pythainlp"}),
        (upright, {"numpy", "PIL"}),
        (reader, {"tokenizers"}),
    ],
)
def test_the_files_that_travel_with_an_export_need_nothing_of_jaxvl(module, needed):
    tree = ast.parse(open(module.__file__, encoding="utf-8").read())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names
    }
    packages = {name.partition(".")[0] for name in imported}
    assert packages - set(sys.stdlib_module_names) == needed
