"""The order of the data: which example is at which position, as pure functions.

Letters: P positions in one call, S sources, T slots of a period, R rounds.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxvl.errors import UserError

ROUNDS = 6
SCHEDULE_PERIOD = 10_000


class Place(NamedTuple):
    """The examples at P positions: each array is int64 [P]."""

    source: np.ndarray  # number of the source
    epoch: np.ndarray  # epoch of that source
    index: np.ndarray  # example within that source


def permute(index_P: np.ndarray, num_examples: int, *, key_P: np.ndarray) -> np.ndarray:
    """Returns where a permutation of range(num_examples) takes `index_P`: int64 [P].

    key_P: uint64 [P], which permutation. Each place is computed on its own and needs no memory: a
    Feistel network over the next even power of two, applied until the result is inside the range
    (Black & Rogaway 2002, "Ciphers with arbitrary finite domains").
    `tf.random.experimental.index_shuffle` does the same, but it is experimental: another version of
    TensorFlow may permute differently, and a continued run would then see other batches.
    """
    half = np.uint64(max(1, (int(num_examples - 1).bit_length() + 1) // 2))
    low_bits = (np.uint64(1) << half) - np.uint64(1)
    keys_RxP = [_mix(key_P + np.uint64(number)) for number in range(ROUNDS)]
    value_P = np.asarray(index_P, np.uint64)
    outside_P = np.ones(value_P.shape, bool)
    while outside_P.any():
        left_P, right_P = value_P >> half, value_P & low_bits
        for key in keys_RxP:
            left_P, right_P = right_P, left_P ^ (_mix(right_P + key) & low_bits)
        value_P = np.where(outside_P, (left_P << half) | right_P, value_P)
        outside_P = value_P >= num_examples
    return value_P.astype(np.int64)


def make_order(
    sizes_S: Sequence[int] | np.ndarray, weights_S: Sequence[float], *, seed: int
) -> Callable[[np.ndarray], Place]:
    """Returns `positions int [P] -> Place`, a pure function of (seed, position).

    Each source has its own epochs, and each epoch its own permutation. The sources take turns so
    that any stretch of positions holds them in proportion to their weights.
    Raises UserError if a weight is not positive, or too small to get a turn.
    """
    turn_T, count_TxS = _schedule(np.asarray(weights_S, np.float64))
    period = len(turn_T)
    sizes_S = np.asarray(sizes_S, np.int64)

    def place(position_P: np.ndarray) -> Place:
        cycle_P, slot_P = np.divmod(np.asarray(position_P, np.int64), period)
        source_P = turn_T[slot_P]
        own_P = cycle_P * count_TxS[-1, source_P] + count_TxS[slot_P, source_P]
        epoch_P, index_P = np.divmod(own_P, sizes_S[source_P])
        key_P = _mix(_mix(np.full_like(own_P, seed).astype(np.uint64)) + epoch_P.astype(np.uint64))
        for source in np.unique(source_P):
            at = source_P == source
            key = _mix(key_P[at] + np.uint64(source))
            index_P[at] = permute(index_P[at], int(sizes_S[source]), key_P=key)
        return Place(source_P, epoch_P, index_P)

    return place


def _schedule(weights_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the source of each slot of one period, and how often each came before each slot."""
    if not (np.isfinite(weights_S).all() and (weights_S > 0).all()):
        raise UserError(f"data.mixture: weights must be positive, not {weights_S.tolist()}")
    if len(weights_S) == 1:
        return np.zeros(1, np.int64), np.array([[0], [1]])
    share_S = weights_S / weights_S.sum()
    count_TxS = np.zeros((SCHEDULE_PERIOD + 1, len(share_S)), np.int64)
    turn_T = np.zeros(SCHEDULE_PERIOD, np.int64)
    for slot in range(SCHEDULE_PERIOD):  # the source furthest behind its share comes next
        turn_T[slot] = np.argmax(share_S * (slot + 1) - count_TxS[slot])
        count_TxS[slot + 1] = count_TxS[slot]
        count_TxS[slot + 1, turn_T[slot]] += 1
    if not count_TxS[-1].all():
        raise UserError(
            f"data.mixture: a weight of {weights_S.tolist()} is under 1/{SCHEDULE_PERIOD} of "
            "their sum; raise it or leave that source out"
        )
    return turn_T, count_TxS


def _mix(x_P: np.ndarray) -> np.ndarray:
    """Returns scrambled uint64 values (the finaliser of SplitMix64, Steele et al. 2014)."""
    x_P = x_P + np.uint64(0x9E3779B97F4A7C15)
    x_P = (x_P ^ (x_P >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x_P = (x_P ^ (x_P >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x_P ^ (x_P >> np.uint64(31))
