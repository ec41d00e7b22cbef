"""One check: made by every process, told in one line, with what to do where it fails."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from json import dumps, loads
from typing import NamedTuple

import jax

from jaxvl.errors import UserError, printable
from jaxvl.training import alike, coordination

LIMIT = 120  # seconds for a check
_MISSING = "process {} has not answered"


class Found(NamedTuple):
    """What a check found in one process.

    rates: {unit: how many}, of which the smallest is shown. facts: what must be the same in all
    processes.
    """

    text: str
    rates: Mapping[str, float] = {}
    facts: alike.Facts = {}


class Check(NamedTuple):
    """What to try, and what to say.

    name: for the table. run: raises UserError, which says what to do. stuck: what to do where there
    is no answer.
    """

    name: str
    run: Callable[[], Found]
    stuck: str


@dataclass
class _Answer:
    process: str
    problem: str = ""
    text: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    facts: alike.Facts = field(default_factory=dict)


def make_all(checks: Sequence[Check]) -> bool:
    """Makes the checks in all processes; process 0 prints a line each. Returns whether all passed.

    To be called by all processes. A check without an answer ends all of them with exit code 1.
    """
    width, good = max(len(check.name) for check in checks), True
    for check in checks:
        good = _make(check, width) and good
    return good


def _make(check, width):
    """Returns whether a check passed, the same in all processes."""
    # Process 0 gives up first, because it can say so.
    patience = LIMIT if jax.process_index() == 0 else LIMIT + 15
    timer = threading.Timer(patience, _give_up, [check, f"no answer within {LIMIT} s", width])
    timer.daemon = True
    timer.start()
    answer = _answer(check)
    timer.cancel()
    key = f"doctor/{check.name}"
    if jax.process_index() > 0:
        coordination.write(f"{key}/{jax.process_index()}", dumps(asdict(answer)))
        return coordination.read(f"{key}/good", missing="process 0 has not answered") == "True"
    try:
        others = [_read(f"{key}/{number}", number) for number in range(1, jax.process_count())]
    except UserError as error:
        _give_up(check, str(error), width)
        return False
    problem = _problem([answer, *others])
    _print(check.name, problem or _told([answer, *others]), width, good=not problem)
    if others:
        coordination.write(f"{key}/good", str(not problem))
    return not problem


def _read(key, number):
    return _Answer(**loads(coordination.read(key, missing=_MISSING.format(number), seconds=LIMIT)))


def _answer(check):
    answer = _Answer(f"process {jax.process_index()} on {os.uname().nodename}")
    try:
        found = check.run()
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        answer.problem = first if isinstance(error, UserError) else f"{_name(error)}: {first}"
    else:
        answer.text, answer.rates, answer.facts = found
    return answer


def _name(error):
    return type(error).__name__


def _problem(answers):
    """Returns in words what is wrong, with the processes; "" for nothing."""
    bad = [answer for answer in answers if answer.problem]
    if bad:
        who = f"{bad[0].process}: " if len(answers) > 1 else ""
        more = f" (and {len(bad) - 1} more processes)" if bad[1:] else ""
        return f"{who}{bad[0].problem}{more}"
    own = (answers[0].process, answers[0].facts)
    others = (alike.difference((other.process, other.facts), own) for other in answers[1:])
    return next(filter(None, others), "")


def _told(answers):
    slowest = {unit: min(one.rates[unit] for one in answers) for unit in answers[0].rates}
    rates = [f"{value:,.0f} {unit}" for unit, value in slowest.items()]
    each = " in the slowest process" if rates and len(answers) > 1 else ""
    return "; ".join(filter(None, [answers[0].text, ", ".join(rates) + each]))


def _print(name, text, width, *, good):
    if jax.process_index() == 0:
        print(f"{'ok' if good else 'FAIL':<4}  {name:<{width}}  {printable(text)}", flush=True)


def _give_up(check, problem, width):
    if jax.process_index() == 0:
        _print(check.name, f"{problem}; {check.stuck}", width, good=False)
    os._exit(1)
