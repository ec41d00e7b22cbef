"""What keeps steps from their pace is measured, and said in plain words where it is much."""

from types import SimpleNamespace

import jax
import pytest

from jaxvl.training import metrics, pace


@pytest.fixture
def now(monkeypatch):
    """The time, in a list of one number, as the clock reads it."""
    now = [100.0]
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def make_steps(clock, now, durations, *, waited=0.0):
    for seconds in durations:
        now[0] += seconds
        clock.add_step(waited=waited)


def test_a_step_several_times_as_long_as_usual_is_counted_by_what_it_lost(now):
    clock = metrics.Clock(batch_size=8)
    make_steps(clock, now, [1.0] * 50)
    assert clock.take()["slow_steps"] == 0 and not clock.warnings
    make_steps(clock, now, [1.0] * 20 + [11.0] + [1.0] * 9)
    assert clock.take()["slow_steps"] == pytest.approx(10 / 40)
    assert clock.warnings["slow_steps"].startswith("25% of the time is lost in steps that take")


def test_saving_and_evaluating_are_not_taken_for_a_slow_step_nor_for_time_in_steps(now):
    clock = metrics.Clock(batch_size=8)
    make_steps(clock, now, [1.0] * 50)
    clock.count()
    now[0] += 500
    clock.restart()
    make_steps(clock, now, [1.0] * 10)
    assert clock.take()["slow_steps"] == 0
    assert clock.in_steps == 60


def test_waiting_for_data_is_told_where_it_is_a_third_of_the_time(now):
    clock = metrics.Clock(batch_size=8)
    make_steps(clock, now, [1.0] * 50, waited=0.2)
    clock.take()
    assert not clock.warnings
    make_steps(clock, now, [1.0] * 50, waited=0.4)
    clock.take()
    assert "40% of the time the step waits for its data" in clock.warnings["data_wait"]


def test_a_second_or_two_is_not_worth_a_warning():
    assert not pace.warnings({"data_wait": 0.9, "slow_steps": 0, "compile_wait": 0}, seconds=5)


def test_compiling_again_is_counted(now, monkeypatch):
    clock = metrics.Clock(batch_size=8)
    before = pace.compiled_seconds()
    jax.jit(lambda x: x * 3 + 1)(jax.numpy.ones(7))
    assert pace.compiled_seconds() > before
    monkeypatch.setattr(metrics, "compiled_seconds", lambda: before + 20)
    make_steps(clock, now, [1.0] * 50)
    assert clock.take()["compile_wait"] == pytest.approx(0.4)
    assert "goes into compiling again" in clock.warnings["compile_wait"]
