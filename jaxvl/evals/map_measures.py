"""What a word's heat-maps are worth: measures of many occurrences of words, and flags.

Letters: K occurrences of words, M patches.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvl.evals.grounding import Box, judge

CONFIDENCE = 1.645  # standard errors: a one-sided test at 5 %
PLACE = 0.5  # share of a word's maps that one fixed map may explain


class Effects(NamedTuple):
    """What it costs to cover the best patches of a map (0), and as many random ones (1).

    score_Kx2: how far the score falls. of_word_Kx2: how far what the word adds to the score falls.
    """

    score_Kx2: np.ndarray
    of_word_Kx2: np.ndarray


class Occurrences(NamedTuple):
    """K places where a word stands in a caption that is read beside its image.

    own_KxM: the word's map, with sum 1. others_KxM: mean map of the other words of the caption; nan
    where there is none. shuffled_KxM, shuffled_effects: of the same model with shuffled weights.
    boxes: where the named thing is, or None.
    """

    words: Sequence[str]
    own_KxM: np.ndarray
    others_KxM: np.ndarray
    effects: Effects
    shuffled_KxM: np.ndarray
    shuffled_effects: Effects
    boxes: Sequence[Box | None]


def with_sum_1(relevance_KxM: np.ndarray) -> np.ndarray:
    """Returns maps with sum 1; one without any relevance becomes an even map."""
    total_Kx1 = relevance_KxM.sum(axis=1, keepdims=True)
    even = 1 / relevance_KxM.shape[1]
    return np.where(total_Kx1 > 0, relevance_KxM / np.where(total_Kx1 > 0, total_Kx1, 1), even)


def measure(found: Occurrences) -> dict[str, np.ndarray]:
    """Returns {measure: float [K]}, nan where it does not apply.

    pointing, energy: of `grounding.judge`, also of `fixed`, the mean map of the word's other
    occurrences, and of `shuffled` weights. covering: 1 where covering the map's best patches lowers
    the score further than covering as many random ones. joint: 1 where it takes away more of what
    the word adds to the score. selectivity: the share of the map that lies elsewhere than in the
    mean map of the caption's other words.
    """
    fixed_KxM = mean_of_others(found.words, found.own_KxM)
    maps = {"": found.own_KxM, "fixed": fixed_KxM, "shuffled": found.shuffled_KxM}
    measures = {}
    for name, map_KxM in maps.items():
        suffix = f"_{name}" if name else ""
        judged_Kx4 = np.array([_judged(map_M, box) for map_M, box in zip(map_KxM, found.boxes)])
        measures[f"pointing{suffix}"] = judged_Kx4[:, 0]
        measures[f"energy{suffix}"] = judged_Kx4[:, 2]
        if not name:
            measures["pointing_chance"] = judged_Kx4[:, 1]
    effects = {"": found.effects, "_shuffled": found.shuffled_effects}
    for suffix, effect in effects.items():
        measures[f"covering{suffix}"] = _above(effect.score_Kx2)
        measures[f"joint{suffix}"] = _above(effect.of_word_Kx2)
    return {
        **measures,
        "selectivity": np.abs(found.own_KxM - found.others_KxM).sum(axis=1) / 2,
    }


def _judged(map_M, box):
    return (np.nan,) * 4 if box is None or np.isnan(map_M).any() else judge(map_M, box)


def _above(effect_Kx2):
    first_K, second_K = effect_Kx2.T
    return np.where(first_K == second_K, 0.5, first_K > second_K)


def mean_of_others(words: Sequence[str], map_KxM: np.ndarray) -> np.ndarray:
    """Returns [K, M]: the mean map of the word's other occurrences; nan where there is none."""
    _, word_K = np.unique(words, return_inverse=True)
    sums = np.zeros((word_K.max() + 1, map_KxM.shape[1]))
    np.add.at(sums, word_K, map_KxM)
    others_K = np.bincount(word_K)[word_K] - 1
    mean_KxM = (sums[word_K] - map_KxM) / np.maximum(others_K, 1)[:, None]
    return np.where(others_K[:, None] > 0, mean_KxM, np.nan)


def explained_by_one_map(words: Sequence[str], map_KxM: np.ndarray) -> dict[str, float]:
    """Returns {word: share of how its maps differ from an even map that one fixed map explains}.

    1: the map is the same in every image. 0: the mean of the other maps says nothing of a map.
    """
    fixed_KxM, even = mean_of_others(words, map_KxM), 1 / map_KxM.shape[1]
    left_K = ((map_KxM - fixed_KxM) ** 2).sum(axis=1)
    whole_K = ((map_KxM - even) ** 2).sum(axis=1)
    shares, words_K = {}, np.array(words)
    for word in sorted(set(words)):
        of = (words_K == word) & ~np.isnan(left_K)
        whole = whole_K[of].sum()
        shares[word] = float(np.clip(1 - left_K[of].sum() / whole, 0, 1)) if whole > 0 else 1.0
    return shares


def rows(found: Occurrences, *, least: int) -> list[dict[str, Any]]:
    """Returns a row for each word that occurs at least `least` times, with its flags.

    Each has the word, its number of occurrences, the means of its measures (None where none
    applies), `explained_by_one_map`, and `flags`, in words.
    """
    measures, explained = measure(found), explained_by_one_map(found.words, found.own_KxM)
    words_K, table = np.array(found.words), []
    for word in sorted(set(found.words)):
        of_word = np.flatnonzero(words_K == word)
        if len(of_word) < least:
            continue
        of = {name: value_K[of_word] for name, value_K in measures.items()}
        row = {"word": word, "occurrences": len(of_word)}
        row |= {name: mean(value_k) for name, value_k in of.items()}
        row["explained_by_one_map"] = explained[word]
        table.append({**row, "flags": flags(of, explained[word])})
    return table


def flags(of: Mapping[str, np.ndarray], explained: float) -> list[str]:
    """Returns why the maps of a word should not be believed; [] where nothing speaks against them.

    of: the measures of its occurrences. explained: of `explained_by_one_map`. A measure counts as
    better than another one where a one-sided test at 5 % says so.
    """
    found = []
    if explained >= PLACE:
        found.append("the same place in every image")
    if not _is_above(of["pointing"] - of["pointing_fixed"]):
        found.append("points no better than one fixed map")
    if not _is_above(of["pointing"] - of["pointing_shuffled"]):
        found.append("points no better than shuffled weights")
    if not _is_above(of["covering"] - 0.5):
        found.append("not what the score depends on")
    if not _is_above(of["joint"] - 0.5):
        found.append("not tied to this word")
    return found


def _is_above(difference_k):
    """Whether the mean is above 0; True where the measure does not apply to the word."""
    values = difference_k[~np.isnan(difference_k)]
    if not len(values):
        return True
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.inf
    return values.mean() > CONFIDENCE * error


def mean(value_k: np.ndarray) -> float | None:
    """Returns the mean of the values that are numbers; None where none is."""
    values = value_k[~np.isnan(value_k)]
    return float(values.mean()) if len(values) else None
