"""The largest batch that fits, in few compilations; the best mesh; which sizes there are."""

from typing import NamedTuple

from jaxvl.plan import search


class Measured(NamedTuple):
    """What the search asks of a plan."""

    batch: int
    fits: bool
    needed: float | None
    available: float
    counted_arguments: int
    next_batch: int
    estimate: object = None


def compiler(*, state, each, available, says=True):
    """Returns (plan_of, the batches that were compiled): memory grows with the batch."""
    tried = []

    def plan_of(batch):
        tried.append(batch)
        needed = state + each(batch)
        known = needed if says else None
        return Measured(batch, needed <= available, known, available, state + batch, batch)

    return plan_of, tried


def test_a_batch_that_does_not_fit_leads_to_the_largest_that_does():
    plan_of, tried = compiler(state=3_000, each=lambda batch: 10 * batch, available=16_000)
    found = search.largest(plan_of(4_096), range(16, 4_097, 16), plan_of)
    assert found.batch == 1_296 and found.fits
    assert plan_of(1_312).fits is False
    assert len(tried) <= 1 + search.COMPILATIONS + 1


def test_it_is_found_where_memory_does_not_grow_in_proportion():
    plan_of, tried = compiler(state=3_000, each=lambda n: 500 + n * n / 100, available=16_000)
    found = search.largest(plan_of(4_096), range(16, 4_097, 16), plan_of)
    assert found.fits and 1_000 <= found.batch <= 1_118  # 1,118 would be the last
    assert len(tried) <= 1 + search.COMPILATIONS


def test_it_is_found_where_the_compiler_does_not_say_what_is_needed():
    plan_of, _ = compiler(state=0, each=lambda batch: batch, available=900, says=False)
    sizes = [16, 32, 64, 128, 256, 512, 1024, 2048]
    assert search.largest(plan_of(2_048), sizes, plan_of).batch == 512


def test_where_nothing_fits_nothing_is_named():
    plan_of, _ = compiler(state=20_000, each=lambda batch: batch, available=16_000)
    assert search.largest(plan_of(64), [16, 32, 64], plan_of) is None


def test_one_that_fits_is_the_start_of_a_search_upwards():
    plan_of, _ = compiler(state=100, each=lambda batch: batch, available=1_000)
    assert search.largest(plan_of(64), range(16, 2_049, 16), plan_of).batch == 896
    assert search.by_proportion(plan_of(64), range(16, 2_049, 16)) == 896


def test_batch_sizes_are_those_that_the_configuration_allows(tiny_config):
    """The queue is a multiple of the batch, and the batch a multiple of the chips."""
    tiny_config.momentum.queue_size, tiny_config.batch_size = 96, 96
    tiny_config.eval.batch_size = 64
    assert search.possible(tiny_config, devices=8, hosts=2) == [8, 16, 24, 32, 48, 96]
    tiny_config.eval.batch_size = 4  # fits no chips at all
    assert search.possible(tiny_config, devices=8, hosts=2) == []


def test_the_best_mesh_fits_and_is_fast():
    class Step(NamedTuple):
        step: float

    fits = dict(available=10.0, counted_arguments=0, next_batch=0)
    slow = Measured(8, True, 5.0, estimate=Step(2.0), **fits)
    fast = Measured(8, True, 9.0, estimate=Step(1.0), **fits)
    large = Measured(8, False, 12.0, **fits)
    assert search.best([slow, fast, large]) is fast
    assert search.best([large, large._replace(needed=11.0)]).needed == 11.0
