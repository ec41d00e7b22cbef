"""Which process of a run is frozen or behind, from what each says of itself every second.

Only this process reads its own clock: the clocks of the hosts may differ by any amount.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

# What a process does, in the order in which it comes before and in a step.
STARTING, SAVING, EVALUATING, READING, COMPILING, STEPPING = range(6)
# Those that have a limit of time. The others may take as long as they need, if the process lives.
_LIMITED = {READING: "has waited for the data of step", STEPPING: "has been in step"}
_FIRST_STEPS, _FIRST_TIMES = 2, 10  # connections are made then, and buffers
_RECENT, _RECENT_TIMES = 10, 3  # a step that always takes a minute is not one that hangs


class Position(NamedTuple):
    """Where a process is: the step that it makes, counted from 0, and the stage."""

    step: int
    stage: int


class _Seen(NamedTuple):
    position: Position
    since: float  # when this position was first heard of
    last: float  # when anything was heard last


class Watchdog:
    """What is known of the processes, and whether one of them has been too long in one place."""

    def __init__(self, hosts: Mapping[int, str], *, seconds: float, first: int) -> None:
        """hosts: {process: its host}. seconds: the limit; 0 for none. first: step of the start."""
        self._hosts, self._seconds, self._first = dict(hosts), seconds, first
        self._seen: dict[int, _Seen] = {}
        self._behind = Position(-1, STARTING)
        self._times: deque[float] = deque(maxlen=_RECENT)

    def heard(self, process: int, position: Position, now: float) -> None:
        """Notes what a process says of itself. now: in seconds of this process's own clock."""
        before = self._seen.get(process)
        same = before and before.position == position
        self._seen[process] = _Seen(position, before.since if before and same else now, now)

    def left(self, process: int) -> None:
        """Notes that a process has come to its end as it should."""
        self._seen.pop(process, None)

    def silent(self, now: float) -> str | None:
        """Returns in words which process has not been heard of for too long; None for none."""
        for process, seen in sorted(self._seen.items()):
            quiet = now - seen.last
            if self._seconds and seen.position.stage != STARTING and quiet > self._seconds:
                return (
                    f"nothing was heard of {self._name(process)} for {quiet:.0f} s: it, its host "
                    "or the network is frozen"
                )
        return None

    def stuck(self, now: float) -> str | None:
        """Returns in words which processes the others wait for for too long; None for none."""
        if not self._seconds or not self._seen:
            return None
        behind = min(seen.position for seen in self._seen.values())
        there = [n for n, seen in sorted(self._seen.items()) if seen.position == behind]
        passed = now - max(self._seen[n].since for n in there)
        if behind.stage not in _LIMITED:
            return None
        if behind != self._behind:
            self._behind = behind
            self._times.append(0.0)
        if passed <= self._limit(behind):
            self._times[-1] = passed
            return None
        everyone = len(there) == len(self._hosts) > 1
        who = "every process" if everyone else " and ".join(map(self._name, there))
        return f"{who} {_LIMITED[behind.stage]} {behind.step + 1} for {passed:.0f} s"

    def _limit(self, behind):
        if behind.step < self._first + _FIRST_STEPS:
            return _FIRST_TIMES * self._seconds
        before = list(self._times)[:-1]  # without the place where it is now
        return max(self._seconds, _RECENT_TIMES * max(before, default=0.0))

    def _name(self, process):
        return f"process {process} on {self._hosts[process]}"
