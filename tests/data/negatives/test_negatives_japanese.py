"""Hard negatives of Japanese captions: what is changed, in which form, and what is left alone.

japanese_captions.txt has 100 captions as of a catalogue, an inspection and an album; the lists of
words were written with them in view, not with the 40 of japanese_captions_unseen.txt.
"""

import json
from pathlib import Path

import pytest

from jaxvl.errors import UserError

pytest.importorskip("sudachipy", reason="the extra [japanese] is not installed")

from jaxvl.data.negatives import KINDS, choose_filler, chunks  # noqa: E402
from jaxvl.data.negatives import vocabulary as vocabularies  # noqa: E402
from jaxvl.data.negatives.generator import negatives_of  # noqa: E402
from jaxvl.data.negatives.image_facts import facts_of  # noqa: E402
from jaxvl.data.negatives.japanese import JAPANESE  # noqa: E402


def read(name):
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line]


CAPTIONS, UNSEEN = read("japanese_captions.txt"), read("japanese_captions_unseen.txt")


@pytest.fixture(scope="module")
def vocabulary():
    counts = vocabularies.no_counts()
    for tokens in JAPANESE.analyse(CAPTIONS):
        vocabularies.count(counts, [JAPANESE.read(tokens)])
    return vocabularies.conclude(counts, "japanese")


@pytest.fixture(scope="module")
def negatives(vocabulary):
    """(captions of an image, seed) -> {kind: negative or None} of the first one."""
    fill = choose_filler("corpus", {}).with_vocabulary(vocabulary).prepare([])

    def make(*captions, seed=0):
        readings = [JAPANESE.read(tokens) for tokens in JAPANESE.analyse(captions)]
        facts = facts_of(captions, readings, vocabulary)
        made = negatives_of(
            facts,
            0,
            vocabulary=vocabulary,
            fill=fill,
            filler_name="corpus",
            seed=seed,
            place="here",
        )
        return dict(zip(KINDS, made, strict=True))

    return make


def texts(negatives, kind, *captions):
    """Returns all negatives of a kind that twenty seeds give, without None."""
    made = (negatives(*captions, seed=seed)[kind] for seed in range(20))
    return {negative["text"] for negative in made if negative}


def test_at_least_60_of_100_captions_get_an_adj_or_noun_negative(negatives):
    made = [negatives(caption) for caption in CAPTIONS]
    assert sum(bool(each["adj"] or each["noun"]) for each in made) >= 60
    assert sum(bool(each["adj"]) for each in made) >= 60
    for caption, each in zip(CAPTIONS, made):
        for negative in filter(None, each.values()):
            assert [caption[a:b] for a, b in negative["span"]] == negative["out"]
            assert negative["text"] != caption


def test_at_least_60_percent_of_captions_that_the_lists_were_not_made_for_get_an_adj(negatives):
    assert sum(bool(negatives(caption)["adj"]) for caption in UNSEEN) >= 0.6 * len(UNSEEN)


def test_a_negative_is_stored_as_in_english(negatives):
    caption = "白い皿の上に置かれた赤いりんご"
    assert negatives(caption)["adj_swap"] == {
        "type": "adj_swap",
        "text": "赤い皿の上に置かれた白いりんご",
        "span": [[0, 2], [10, 12]],
        "out": ["白い", "赤い"],
        "in": ["赤い", "白い"],
        "filler": "exchange",
        "score": None,
        "seed": 0,
    }
    assert negatives(caption)["relation"]["text"] == "白いりんごの上に置かれた赤い皿"


@pytest.mark.parametrize(
    "caption, new, never",
    [
        ("赤い手帳", {"青い手帳", "緑の手帳"}, "赤色の手帳"),
        ("赤色の手帳", {"青色の手帳"}, "青い手帳"),
        ("手帳 レッド", {"手帳 ブルー"}, "手帳 青い"),
        ("手帳が赤い", {"手帳が青い"}, "手帳が緑の"),
        ("溝が浅くなっている", {"溝が深くなっている"}, "溝が深いなっている"),
        ("透明な袋", {"不透明な袋"}, "赤い袋"),
        ("ステンレス製ボトル", {"ガラス製ボトル"}, "アルミ製ボトル"),
        ("大きな箱", {"小さな箱"}, "大型の箱"),
    ],
)
def test_an_adjective_becomes_one_that_contradicts_it_in_its_own_form(
    negatives, caption, new, never
):
    found = texts(negatives, "adj", caption)
    assert new <= found and never not in found


@pytest.mark.parametrize(
    "caption",
    ["テーブルの左の皿", "ガラスが割れている", "木の枝", "きれい", "", "。", "🍎", "ー" * 300],
)
def test_a_place_a_thing_of_glass_and_a_tree_are_no_attributes(negatives, caption):
    assert negatives(caption)["adj"] is None


def test_a_thing_takes_the_place_of_another_with_the_same_counter(negatives):
    assert negatives("2匹の茶色い犬")["noun"] is None  # nothing else is counted in 匹 there
    assert all("本" in text for text in texts(negatives, "noun", "ボルトが3本ある"))


def test_people_take_the_place_of_people(negatives):
    found = texts(negatives, "noun", "立っている男性")
    assert "立っている女性" in found and not any("車" in text for text in found)


@pytest.mark.parametrize(
    "caption", ["犬と猫", "机の隣の椅子", "犬の首輪", "皿、コップ", "人と話す犬"]
)
def test_nouns_that_may_change_places_truly_do_not(negatives, caption):
    assert negatives(caption)["relation"] is None


def test_what_another_caption_says_is_not_put_in(negatives):
    assert "青い手帳" in texts(negatives, "adj", "赤い手帳")
    assert "青い手帳" not in texts(negatives, "adj", "赤い手帳", "青い柄のノート")


def test_verbs_keep_their_endings(negatives):
    found = texts(negatives, "verb", "端子が曲がっている")
    assert found and all(text.endswith("ている") or text.endswith("でいる") for text in found)


def test_a_chunk_is_read_again_as_it_was_written(vocabulary):
    text = vocabularies.to_json(vocabulary)
    assert json.loads(text)["language"] == "japanese"
    assert vocabularies.from_json(text).language == "japanese"
    tokens = chunks.tokens_of([[text] for text in CAPTIONS], "japanese")
    filler = choose_filler("corpus", {}).with_vocabulary(vocabulary)
    chunk = chunks.Chunk("train", 0, len(CAPTIONS))
    one, other = (
        chunks.lines_of(tokens, chunk, vocabulary=vocabulary, filler=filler, seed=seed)
        for seed in (0, 1)
    )
    assert one != other
    assert one == chunks.lines_of(tokens, chunk, vocabulary=vocabulary, filler=filler, seed=0)


def test_languages_are_told_apart_and_those_without_rules_are_refused():
    pytest.importorskip("spacy", reason="the extra [negatives] is not installed")
    from jaxvl.data.negatives.languages import named_language

    assert named_language(CAPTIONS) == "japanese"
    assert named_language(["red mug, ceramic", "blue t-shirt size M", "black bag"]) == "english"
    assert named_language(["A man riding a horse.", "two dogs in the grass"]) == "english"
    for captions, where in (
        (["一个红色的杯子"], "Han script"),
        (["เสื้อสีแดง"], "Thai script"),
        (["Собака на диване"], "Cyrillic script"),
        (["Ein Hund sitzt auf dem Sofa.", "eine rote Tasse"], "other than English"),
        (["Un chien est assis sur le canapé"], "other than English"),
    ):
        with pytest.raises(UserError, match=f"{where}; .* English and Japanese only"):
            named_language(captions)
