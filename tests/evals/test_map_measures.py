"""What a word's maps are worth: right ones are believed, and each kind of wrong one is flagged."""

import numpy as np
import pytest

from jaxvl.evals import map_measures
from jaxvl.evals.map_measures import Effects, Occurrences

SIDE, EACH = 6, 30
WORDS = ["red"] * EACH + ["ring"] * EACH
BOXES = [[row / SIDE, 0.0, (row + 1) / SIDE, 1 / SIDE] for row in range(SIDE)]


def maps(patches, noise=0.05):
    """Maps with a peak at these patches."""
    rng = np.random.default_rng(0)
    relevance = noise * rng.random((len(patches), SIDE**2))
    relevance[np.arange(len(patches)), patches] = 1
    return map_measures.with_sum_1(relevance)


def random_maps(count, seed):
    return map_measures.with_sum_1(np.random.default_rng(seed).random((count, SIDE**2)))


def always(first, second):
    return np.tile([float(first), float(second)], (len(WORDS), 1))


def right(**changes):
    """Occurrences of which each thing is at another place and its map is there."""
    rows = np.arange(len(WORDS)) % SIDE
    effects = Effects(always(1, 0), always(1, 0))
    parts = Occurrences(
        WORDS,
        maps(rows * SIDE),
        random_maps(len(WORDS), 1),
        effects,
        random_maps(len(WORDS), 2),
        effects,
        [BOXES[row] for row in rows],
    )
    return parts._replace(**changes)


def flags_of(found, least=10):
    return {row["word"]: row["flags"] for row in map_measures.rows(found, least=least)}


def test_right_maps_are_believed():
    assert flags_of(right()) == {"red": [], "ring": []}
    measures = map_measures.measure(right())
    assert measures["pointing"].mean() == measures["covering"].mean() == 1.0
    assert measures["pointing_fixed"].mean() < 0.5 and measures["pointing_shuffled"].mean() < 0.2


def test_random_weights_flag_everything():
    rng = np.random.default_rng(3)
    count = len(WORDS)
    chance = Effects(rng.normal(size=(count, 2)), rng.normal(size=(count, 2)))
    found = right(own_KxM=random_maps(count, 4), effects=chance)
    assert all(len(flags) >= 3 for flags in flags_of(found).values())


def test_a_word_that_is_a_watermark_is_flagged_though_the_score_depends_on_it():
    corner = [SIDE**2 - 1] * EACH
    own = np.concatenate([maps(corner), right().own_KxM[EACH:]])
    found = right(own_KxM=own, boxes=[None] * EACH + right().boxes[EACH:])
    assert flags_of(found) == {"red": ["the same place in every image"], "ring": []}
    assert map_measures.explained_by_one_map(WORDS, own)["red"] > 0.9


@pytest.mark.parametrize(
    "changes, flag",
    [
        ({"shuffled_KxM": right().own_KxM}, "points no better than shuffled weights"),
        ({"effects": Effects(always(0, 0), always(1, 0))}, "not what the score depends on"),
        ({"effects": Effects(always(1, 0), always(1, 2))}, "not tied to this word"),
        (
            {"own_KxM": maps([SIDE] * len(WORDS)), "boxes": [BOXES[1]] * len(WORDS)},
            "points no better than one fixed map",
        ),
    ],
)
def test_each_reason_for_doubt_is_named(changes, flag):
    found = right(**changes)
    assert all(flag in flags for flags in flags_of(found).values())


def test_words_without_boxes_are_judged_by_the_rest_and_rare_words_not_at_all():
    found = right(boxes=[None] * len(WORDS))
    (row, _) = map_measures.rows(found, least=10)
    assert row["pointing"] is None and row["flags"] == [] and row["occurrences"] == EACH
    assert map_measures.rows(found, least=EACH + 1) == []


def test_a_word_s_own_map_is_not_part_of_the_fixed_map():
    fixed = map_measures.mean_of_others(["a", "b", "a"], np.array([[1.0, 0], [0.5, 0.5], [0, 1]]))
    np.testing.assert_array_equal(fixed[[0, 2]], [[0, 1], [1, 0]])
    assert np.isnan(fixed[1]).all()


def test_selectivity_is_the_share_that_lies_elsewhere():
    own = np.zeros((len(WORDS), SIDE**2))
    own[:, 0] = 1
    others = np.zeros_like(own)
    others[:, :2] = 0.5
    assert map_measures.measure(right(own_KxM=own, others_KxM=others))["selectivity"][0] == 0.5


def test_a_map_without_relevance_is_even():
    np.testing.assert_array_equal(map_measures.with_sum_1(np.zeros((1, 4))), [[0.25] * 4])
