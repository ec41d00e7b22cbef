"""The order of the data: permutations computed place by place, mixtures that keep their shares."""

from collections import Counter

import numpy as np
import pytest

from jaxvl.data.order import SCHEDULE_PERIOD, make_order
from jaxvl.errors import UserError


def epochs_of(num_examples, *, epochs, seed=0):
    place = make_order([num_examples], [1.0], seed=seed)(np.arange(epochs * num_examples))
    assert (place.epoch == np.repeat(np.arange(epochs), num_examples)).all()
    return place.index.reshape(epochs, num_examples)


@pytest.mark.parametrize("num_examples", [1, 2, 3, 7, 64, 65, 1000])
def test_every_epoch_holds_every_example_once(num_examples):
    for index in epochs_of(num_examples, epochs=3):
        assert sorted(index) == list(range(num_examples))


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = epochs_of(100, epochs=2)
    (other_seed,) = epochs_of(100, epochs=1, seed=1)
    (again,) = epochs_of(100, epochs=1)
    assert (first == again).all()
    for other in (second, other_seed, np.arange(100)):
        assert (first == other).sum() < 10


def test_every_permutation_of_four_comes_about_equally_often():
    count = Counter(map(tuple, epochs_of(4, epochs=2400)))
    assert len(count) == 24
    assert 60 < min(count.values()) and max(count.values()) < 145


def test_places_do_not_depend_on_what_else_is_asked_for():
    order = make_order([10, 23, 7], [0.5, 0.3, 0.2], seed=3)
    together = order(np.arange(SCHEDULE_PERIOD - 50, SCHEDULE_PERIOD + 50))
    for row in range(100):
        alone = order(np.array([SCHEDULE_PERIOD - 50 + row]))
        assert [x[0] for x in alone] == [x[row] for x in together]


def test_a_mixture_keeps_its_shares_in_every_stretch():
    place = make_order([10, 23, 7], [7, 2, 1], seed=0)(np.arange(3 * SCHEDULE_PERIOD))
    for start in range(0, 3 * SCHEDULE_PERIOD - 100, 97):
        share = np.bincount(place.source[start : start + 100], minlength=3)
        assert np.abs(share - [70, 20, 10]).max() <= 2


def test_each_source_of_a_mixture_has_its_own_whole_epochs():
    sizes = [10, 23, 7]
    place = make_order(sizes, [0.5, 0.3, 0.2], seed=0)(np.arange(2 * SCHEDULE_PERIOD))
    for source, size in enumerate(sizes):
        index = place.index[place.source == source]
        whole = index[: len(index) // size * size].reshape(-1, size)
        assert (np.sort(whole, axis=1) == np.arange(size)).all()
        assert (whole[0] != whole[1]).any()


def test_sources_of_one_size_have_orders_of_their_own():
    place = make_order([100, 100], [1.0, 1.0], seed=0)(np.arange(200))
    first, second = (place.index[place.source == source] for source in (0, 1))
    assert (first == second).sum() < 10


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(UserError, match="data.mixture: weights must be positive"):
        make_order([5, 5], [1.0, weight], seed=0)


def test_a_weight_too_small_to_ever_get_a_turn_is_refused():
    with pytest.raises(UserError, match="data.mixture: .* under 1/10000"):
        make_order([5, 5], [1.0, 1e-6], seed=0)
