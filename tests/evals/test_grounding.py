"""Grounding: pointing and energy of maps whose answer is known, beside chance."""

import numpy as np
import pytest

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals import grounding
from jaxvl.evals.examples import Examples
from jaxvl.evals.scoring import Scorer

SIDE = 4
BOX = [0.0, 0.5, 0.5, 1.0]  # the upper right quarter


def map_with(*peaks):
    relevance = np.zeros((SIDE, SIDE), np.float32)
    for row, column, value in peaks:
        relevance[row, column] = value
    return relevance.reshape(-1)


def test_a_peak_in_the_box_is_a_hit():
    assert grounding.judge(map_with((0, 3, 2.0), (3, 0, 1.0)), BOX)[0] == 1.0


def test_a_peak_beside_the_box_is_a_miss():
    assert grounding.judge(map_with((0, 1, 2.0), (0, 3, 1.0)), BOX)[0] == 0.0


def test_energy_is_the_share_inside():
    assert grounding.judge(map_with((0, 3, 3.0), (3, 0, 1.0)), BOX)[2] == 0.75


def test_a_patch_partly_in_the_box_counts_by_its_area():
    box = [0.0, 0.0, 0.25, 0.125]  # the left half of the first patch
    pointing, _, energy, energy_chance = grounding.judge(map_with((0, 0, 1.0)), box)
    assert (pointing, energy) == (1.0, 0.5)  # the centre lies on the edge, which belongs to it
    assert energy_chance == pytest.approx(0.25 * 0.125)


def test_chance_is_the_share_of_the_image():
    _, pointing_chance, _, energy_chance = grounding.judge(map_with((0, 0, 1.0)), BOX)
    assert (pointing_chance, energy_chance) == (0.25, 0.25)


def test_an_even_map_is_at_chance():
    assert grounding.judge(np.ones(SIDE**2), BOX) == (0.25, 0.25, 0.25, 0.25)


@pytest.mark.parametrize("empty", [np.zeros(SIDE**2), np.full(SIDE**2, np.nan)])
def test_a_map_without_relevance_is_a_miss(empty):
    assert grounding.judge(empty, BOX) == (0.0, 0.25, 0.0, 0.25)


def test_rows_run_from_the_top_and_columns_from_the_left():
    inside, _ = grounding.inside([0.75, 0.0, 1.0, 0.25], SIDE**2)
    assert np.flatnonzero(inside).tolist() == [SIDE * (SIDE - 1)]


def records():
    """Two captions an image; word 1 of the first is object 0, words 0 and 2 of the other, 1."""
    return [
        {
            "captions": ["red cube", "ball near ball", "no object"],
            "boxes": np.array([BOX, [0.5, 0.0, 1.0, 0.5]], np.float32),
            "mentions": np.array([[0, 1, 0], [1, 0, 1], [1, 2, 1]]),
        }
        for _ in range(5)
    ]


def tokenize(captions):
    """One token a word after [CLS], four tokens at most."""
    ids = np.zeros((len(captions), 4), np.int32)
    words = np.full((len(captions), 4), -1, np.int32)
    for row, caption in enumerate(captions):
        count = min(3, len(caption.split()))
        ids[row, : 1 + count] = 5
        words[row, 1 : 1 + count] = np.arange(count)
    return Tokens(ids, ids > 0, words)


def run(word_maps, tokenize=tokenize):
    examples = Examples(records(), lambda: [], tokenize)
    scorer = Scorer(
        lambda *_, count, progress, tokens: None, lambda *_, progress: None, None, word_maps
    )
    return grounding.make(None, scorer=scorer, examples=examples).run({})


def look(right):
    """Maps of which those of the words that name something point at its box, or always at that of
    the other object, and those of other words at neither."""

    def word_maps(params, images, texts, tokens, pairs_Px2, *, progress):
        for words_L in tokens.words:
            first = words_L.max() == 1  # the caption about object 0
            at = (0, 3) if first == right else (3, 0)
            named_L = np.isin(words_L, [1] if first else [0, 2])
            yield np.where(named_L[:, None], map_with((*at, 1.0)), map_with((1, 1, 1.0))), 0.5

    return word_maps


def test_right_maps_score_100_and_wrong_ones_nothing():
    right, wrong = run(look(True)), run(look(False))
    assert (right["pointing"], right["energy"]) == (1.0, 1.0)
    assert (wrong["pointing"], wrong["energy"]) == (0.0, 0.0)
    assert right["pointing_chance"] == wrong["pointing_chance"] == 0.25


def test_all_mentions_are_counted():
    assert (run(look(True))["words"], run(look(True))["words_truncated"]) == (15, 0)


def test_words_that_the_model_does_not_read_are_left_out_and_counted():
    def truncated(captions):
        tokens = tokenize(captions)
        words = np.where(tokens.words == 2, -1, tokens.words)
        return tokens._replace(words=words)

    found = run(look(True), truncated)
    assert (found["words"], found["words_truncated"]) == (10, 5)


def test_a_map_for_every_caption_is_required():
    def one_missing(*given, progress):
        yield from list(look(True)(*given, progress=progress))[:-1]

    with pytest.raises(ValueError, match="longer"):
        run(one_missing)


def test_random_maps_are_at_chance():
    rng = np.random.default_rng(0)
    found = [grounding.judge(rng.random(SIDE**2), BOX) for _ in range(2000)]
    pointing, pointing_chance, energy, energy_chance = np.mean(found, axis=0)
    assert pointing == pytest.approx(pointing_chance, abs=0.03)
    assert energy == pytest.approx(energy_chance, abs=0.01)
