"""Who is frozen or behind, from what the processes say and from this process's own clock."""

import pytest

from jaxvl.training.watchdog import (
    COMPILING,
    EVALUATING,
    READING,
    SAVING,
    STARTING,
    STEPPING,
    Position,
    Watchdog,
)

HOSTS = {0: "a", 1: "b", 2: "c"}


def of_steps(positions, *, made=40, seconds=45):
    """Returns a Watchdog and the time, after steps of a second each and then these positions."""
    dog = Watchdog(HOSTS, seconds=seconds, first=0)
    for step in range(made):
        for process in HOSTS:
            dog.heard(process, Position(step, STEPPING), float(step))
        assert dog.stuck(float(step)) is None
    for process, position in positions.items():
        dog.heard(process, Position(*position), float(made))
    return dog, float(made)


def say_again(dog, positions, now):
    for process, position in positions.items():
        dog.heard(process, Position(*position), now)


def test_the_one_that_waits_for_its_data_is_named_and_not_those_that_wait_for_it():
    positions = {0: (57, STEPPING), 1: (56, READING), 2: (57, STEPPING)}
    dog, now = of_steps(positions)
    for passed, expected in [(44, None), (46, "process 1 on b has waited for the data of step 57")]:
        say_again(dog, positions, now + passed)
        found = dog.stuck(now + passed)
        assert found == (expected and f"{expected} for 46 s")
        assert dog.silent(now + passed) is None


def test_where_all_are_in_the_same_step_none_is_blamed():
    positions = dict.fromkeys(HOSTS, (57, STEPPING))
    dog, now = of_steps(positions)
    assert dog.stuck(now + 44) is None
    assert dog.stuck(now + 46) == "every process has been in step 58 for 46 s"


@pytest.mark.parametrize("stage", [STARTING, SAVING, EVALUATING, COMPILING])
def test_saving_evaluating_and_compiling_may_take_as_long_as_they_need(stage):
    positions = {0: (57, stage), 1: (57, STEPPING), 2: (57, STEPPING)}
    if stage == STARTING:
        positions[0] = (-1, STARTING)
    dog, now = of_steps(positions)
    assert dog.stuck(now + 10_000) is None


def test_one_that_is_silent_is_named_in_whatever_stage_it_is_but_the_start():
    positions = {0: (57, SAVING), 1: (57, SAVING), 2: (-1, STARTING)}
    dog, now = of_steps(positions)
    assert dog.silent(now + 44) is None
    dog.heard(0, Position(57, SAVING), now + 44)
    assert dog.silent(now + 46) == (
        "nothing was heard of process 1 on b for 46 s: it, its host or the network is frozen"
    )
    dog.left(1)
    assert dog.silent(now + 46) is None


def test_steps_that_always_take_a_minute_are_not_taken_for_one_that_hangs():
    dog = Watchdog(HOSTS, seconds=45, first=100)
    now = 0.0
    for step in range(100, 105):
        for _ in range(60):
            say_again(dog, dict.fromkeys(HOSTS, (step, STEPPING)), now)
            assert dog.stuck(now) is None
            now += 1
    say_again(dog, dict.fromkeys(HOSTS, (105, STEPPING)), now)
    assert dog.stuck(now + 170) is None
    assert dog.stuck(now + 190) == "every process has been in step 106 for 190 s"


def test_the_first_steps_have_ten_times_as_long():
    positions = dict.fromkeys(HOSTS, (0, STEPPING))
    dog = Watchdog(HOSTS, seconds=45, first=0)
    say_again(dog, positions, 0.0)
    assert dog.stuck(440) is None
    assert dog.stuck(460) == "every process has been in step 1 for 460 s"


def test_0_seconds_is_no_limit():
    positions = dict.fromkeys(HOSTS, (57, STEPPING))
    dog, now = of_steps(positions, seconds=0)
    assert dog.stuck(now + 1e6) is dog.silent(now + 1e6) is None
