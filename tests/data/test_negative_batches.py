"""Hard negatives in a batch: those of each row's caption, one column a kind, padded."""

import numpy as np
import pytest

from jaxvl.config import base
from jaxvl.data import batches, sources
from jaxvl.data.negatives import Negatives, valid
from jaxvl.data.negatives.own import open_own
from jaxvl.data.sources import open_prepared
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError

KINDS = ("replace_object", "swap_relation", "replace_attribute")
L = 40


@pytest.fixture(scope="module")
def source(scenes_directory):
    return open_prepared(scenes_directory, split="train")


@pytest.fixture(scope="module")
def words(scenes_directory):
    return tokenizer.load(scenes_directory)


def make(given, words, *, batch_size=10, rows=None, **keys):
    config = base().data
    config.update(
        {
            "image_size": 16,
            "flip_probability": 0.0,
            "rand_augment_operations": 0,
            "max_tokens": L,
            "max_words": 99,
            "add_sep": True,
            "negatives": "own",
            "negative_kinds": KINDS,
            **keys,
        }
    )
    return batches.make_batches(
        [(one, 1.0) for one in given],
        words,
        config,
        seed=0,
        batch_size=batch_size,
        rows=np.arange(batch_size) if rows is None else rows,
    )


@pytest.fixture(scope="module")
def made(source, words):
    return make([source], words)


def read_as(words, captions):
    tokens = tokenizer.encode(words, captions, max_tokens=L, max_words=99, add_sep=True)
    return {tuple(ids): caption for ids, caption in zip(tokens.ids.tolist(), captions)}


def test_a_row_brings_the_negatives_of_its_own_caption(made, source, words):
    records = sources.annotations(source)
    batch = made.batch(0)
    valid = 0
    for row, example in enumerate(batch["example_id"]):
        record = records[example]
        caption = read_as(words, record["captions"])[tuple(batch["token_ids"][row].tolist())]
        texts = read_as(words, record["negatives"])
        expected = {
            kind: text
            for text, kind, of in zip(
                record["negatives"], record["negative_kinds"], record["negative_captions"]
            )
            if record["captions"][of] == caption
        }
        for column, kind in enumerate(KINDS):
            ids = tuple(batch["negative_ids"][row, column].tolist())
            assert batch["negative_valid"][row, column] == (kind in expected)
            assert texts.get(ids) == expected.get(kind)
            valid += kind in expected
    assert 10 < valid < 30  # every caption names an object that can be replaced, some no relation


def test_shapes_types_and_padding(made, words):
    batch = made.batch(0)
    described = {name: (x.dtype, x.shape) for name, x in batch.items() if "negative" in name}
    assert described == {
        "negative_ids": (np.int32, (10, 3, L)),
        "negative_mask": (bool, (10, 3, L)),
        "negative_caption_id": (np.int32, (10, 3)),
        "negative_valid": (bool, (10, 3)),
    }
    np.testing.assert_array_equal(batch["negative_mask"].any(-1), batch["negative_valid"])
    missing = batch["negative_ids"][~batch["negative_valid"]]
    assert (missing == words.token_to_id("[PAD]")).all() and len(missing)


def test_processes_together_give_the_global_batch(made, source, words):
    whole = made.batch(3)
    parts = [make([source], words, rows=np.arange(5 * i, 5 * i + 5)).batch(3) for i in range(2)]
    for name in ("negative_ids", "negative_mask", "negative_valid", "token_ids"):
        np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in parts]))


def test_a_mixture_brings_each_data_set_s_own(source, words):
    other = source._replace(name="other")
    batch = make([source, other], words, batch_size=80).batch(0)
    alone = make([source], words, batch_size=40).batch(0)
    assert set(batch["example_id"]) == set(range(80))
    assert batch["negative_valid"].any(1)[batch["example_id"] >= 40].any()
    assert alone["negative_valid"].shape == (40, 3)


def test_negatives_of_a_folder_are_read_by_image_and_caption(source, words, monkeypatch):
    asked = []

    def opened(directory, *, fingerprint, kinds):
        asked.append((directory, fingerprint, tuple(kinds)))

        def read(example, caption):
            return [
                ["", f"a {'red blue'.split()[e % 2]} {'cube ' * c}"]
                for e, c in zip(example, caption)
            ]

        return Negatives(tuple(kinds), read)

    monkeypatch.setattr(valid, "open_negatives", opened)
    batch = make([source], words, negatives="folder", negative_kinds=("noun", "verb")).batch(0)
    assert asked == [("folder", source.fingerprint, ("noun", "verb"))]
    assert batch["negative_valid"].tolist() == [[False, True]] * 10
    for row, example in enumerate(batch["example_id"]):
        text = words.decode(batch["negative_ids"][row, 1].tolist())
        assert text.startswith(f"a {'red blue'.split()[example % 2]}")
    lengths = batch["negative_mask"][:, 1].sum(-1)
    assert lengths.min() < lengths.max()  # captions of several turns, each with its negatives


def test_a_negative_that_equals_the_caption_once_truncated_is_left_out(source, words, monkeypatch):
    record = sources.annotations(source)

    def read(example, caption):
        return [
            [record[e]["captions"][c] + " cube", "another cube"] for e, c in zip(example, caption)
        ]

    monkeypatch.setattr(valid, "open_negatives", lambda *_, kinds, **__: Negatives(kinds, read))
    keys = dict(negatives="folder", negative_kinds=("noun", "verb"), max_tokens=4, add_sep=False)
    batch = make([source], words, **keys).batch(0)
    short = ~batch["token_mask"].all(-1)  # truncated captions are as long as their negatives
    assert batch["negative_valid"][:, 1].all() and not short.all()
    np.testing.assert_array_equal(batch["negative_valid"][:, 0], short)
    assert not batch["negative_mask"][~short, 0].any()


def test_without_negatives_a_batch_has_none(source, words):
    assert not [n for n in make([source], words, negatives="").batch(0) if "negative" in n]


@pytest.mark.parametrize("kinds", [("replace_object", "noun"), ()])
def test_kinds_that_the_data_set_does_not_have_are_named(source, kinds):
    with pytest.raises(UserError, match="data.negative_kinds=.* has replace_attribute, "):
        open_own(source, kinds=kinds)


def test_a_data_set_without_negatives_says_how_to_make_some(source, monkeypatch):
    monkeypatch.setattr("jaxvl.data.negatives.own.annotations", lambda _: [{"negative_kinds": []}])
    with pytest.raises(UserError, match="brings no negatives.*jaxvl negatives"):
        open_own(source, kinds=KINDS)
