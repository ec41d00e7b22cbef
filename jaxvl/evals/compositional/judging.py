"""When a row counts as right, and how rows are averaged, in NumPy.

A row has J images and C captions, the true ones first. Every comparison is strict: a tie is a
failure, and so is a score that is not a number.
Letters: R rows, J images of a row, C captions of a row.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)
Column = TypeVar("Column", bound=Hashable)


def all_above(scores_RxJxC: np.ndarray, true_count: int) -> np.ndarray:
    """Returns bool [R]: every true caption of the first image scores above every false one."""
    true_RxC, false_RxC = np.split(scores_RxJxC[:, 0], [true_count], axis=1)
    return true_RxC.min(axis=1) > false_RxC.max(axis=1)


def by_name(right_R: np.ndarray, name_R: Sequence[str]) -> dict[str, float]:
    """Returns {name: share of its rows that are right}, in the order of first appearance."""
    names = np.asarray(name_R)
    return {name: float(right_R[names == name].mean()) for name in dict.fromkeys(name_R)}


def macro(right_R: np.ndarray, group_R: Sequence[str], *, least: int) -> tuple[float, int]:
    """Returns (mean over the groups' shares, number of groups).

    Groups with fewer than `least` rows are left out; the mean is nan where no group is left.
    """
    names, of_R, counts = np.unique(group_R, return_inverse=True, return_counts=True)
    shares = np.bincount(of_R, weights=right_R, minlength=len(names)) / np.maximum(counts, 1)
    shares = shares[counts >= least]
    return (float(shares.mean()) if len(shares) else float("nan")), len(shares)


def mean(share_of: Mapping[Name, float]) -> float:
    """Returns the mean of the shares."""
    return _mean(share_of.values())


def mean_of_all(share_of: Mapping[str, float]) -> dict[str, float]:
    """Returns {"mean": mean of the shares}."""
    return {"mean": mean(share_of)}


def columns(
    share_of: Mapping[Name, float], column_of: Callable[[Name], Column]
) -> dict[Column, float]:
    """Returns {column: mean of the shares that belong to it}."""
    shares: dict[Column, list[float]] = {}
    for name, share in share_of.items():
        shares.setdefault(column_of(name), []).append(share)
    return {column: _mean(of_column) for column, of_column in shares.items()}


def _mean(shares: Iterable[float]) -> float:
    return float(np.mean(list(shares)))
