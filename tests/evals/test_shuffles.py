"""ARO's shuffles: always the same, of the caption's own words, never the caption itself."""

import json

import pytest

from jaxvl.data.text.clean import clean_caption
from jaxvl.evals.compositional import shuffles
from jaxvl.evals.compositional.annotations import Case

WORDS = "a black dog chases two small white cats .".split()
TAGS = "DT JJ NN VBZ CD JJ JJ NNS .".split()


def case_of(caption):
    return Case("coco", ("a.jpg",), None, (caption,), (), (), "")


def test_each_kind_moves_its_own_words():
    nouns, others, within, triples = (text.split() for text in shuffles.shuffle(WORDS, TAGS))
    content = [i for i, tag in enumerate(TAGS) if tag[:2] in ("NN", "JJ")]
    rest = [i for i in range(len(WORDS)) if i not in content]
    assert [nouns[i] for i in rest] == [WORDS[i] for i in rest]
    assert {nouns[2], nouns[7]} == {"dog", "cats"}  # nouns stay among themselves
    assert [others[i] for i in content] == [WORDS[i] for i in content]
    for start in (0, 3, 6):
        assert sorted(within[start : start + 3]) == sorted(WORDS[start : start + 3])
    groups = [" ".join(WORDS[i : i + 3]) for i in (0, 3, 6)]
    assert all(group in " ".join(triples) for group in groups)


def test_a_shuffle_differs_from_the_caption_and_never_from_itself():
    made = shuffles.shuffle(WORDS, TAGS)
    read = {clean_caption(text, max_words=None) for text in made}
    assert clean_caption(" ".join(WORDS), max_words=None) not in read
    assert shuffles.shuffle(WORDS, TAGS) == made
    assert shuffles.shuffle(["dog", "."], ["NN", "."]) == [""] * 4  # a full stop is not read


@pytest.fixture
def tagged(monkeypatch):
    calls = []

    def tag(captions):
        calls.append(captions)
        return [(c.split(), ["NN" if w == "dog" else "X" for w in c.split()]) for c in captions]

    monkeypatch.setattr(shuffles, "_tagged", tag)
    return calls


def test_four_false_captions_each_and_what_cannot_be_shuffled_is_left_out(tagged, tmp_path):
    cases = [case_of("the dog runs fast"), case_of("dog")]
    (made,) = shuffles.with_shuffles(cases, tmp_path / "coco.json")
    assert len(made.false) == len(made.kinds) == 4
    assert "nouns_and_adjectives" not in made.kinds  # one noun cannot change places
    assert set(made.false) <= {t for t in shuffles.shuffle(*tagged_words()) if t}


def tagged_words():
    return "the dog runs fast".split(), ["X", "NN", "X", "X"]


def test_they_are_made_once(tagged, tmp_path):
    cases, path = [case_of("the dog runs fast")], tmp_path / "coco.json"
    first = shuffles.with_shuffles(cases, path)
    assert shuffles.with_shuffles(cases, path) == first
    assert len(tagged) == 1
    shuffles.with_shuffles([case_of("the dog sits down")], path)
    assert len(tagged) == 2  # of other captions
    for damaged in ({"digest": 1}, {}, [1]):
        (tmp_path / "coco.json.shuffles.json").write_text(json.dumps(damaged))
        assert shuffles.with_shuffles(cases, path) == first


def test_a_folder_that_cannot_be_written_changes_nothing(tagged, tmp_path):
    cases, path = [case_of("the dog runs fast")], tmp_path / "coco.json"
    expected = shuffles.with_shuffles(cases, path)
    (tmp_path / "other.json.shuffles.json").mkdir()  # nothing can be written under this name
    assert shuffles.with_shuffles(cases, tmp_path / "other.json") == expected
