"""Goodput: the share of the time of a run, over all its starts, that made steps which last.

Steps after the last checkpoint of a start that was killed are made again, so they are lost. What is
not a step is lost too: opening, compiling, saving, evaluating. run.json has three numbers for each
start: the last step, seconds since the start, and seconds in steps. They are lengths of time, taken
on one host; no time of day is compared with another.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvl import files, workdir
from jaxvl.errors import UserError
from jaxvl.training import record

PAUSE = 30  # seconds between two writes of run.json; a killed start loses less than that


class Spent:
    """The time that this start of a run has taken, which it writes to run.json now and then."""

    def __init__(self, directory: Path, *, started: float) -> None:
        """directory: of a run whose run.json has this start. started: by time.monotonic."""
        self._path, self._started = directory / workdir.RECORD, started
        self._record = record.read(directory)
        self._written = started

    def add(self, last: int, *, in_steps: float) -> None:
        """Notes the last step that was made, and the seconds spent in steps since the start."""
        if time.monotonic() > self._written + PAUSE:
            self.write(last, in_steps=in_steps)

    def write(self, last: int, *, in_steps: float) -> float | None:
        """Does as `add`, at once. Returns the goodput of the run; None where it is not known."""
        starts = self._record.get("starts")
        if not starts:
            return None
        self._written = time.monotonic()
        spent = {"last": last, "seconds": self._written - self._started, "in_steps": in_steps}
        starts[-1].update({name: round(value, 3) for name, value in spent.items()})
        with contextlib.suppress(UserError):  # a full disk is told of by what matters more
            files.write_json(self._path, self._record)
        return share(starts)


def of(directory: Path) -> float | None:
    """Returns the goodput of the run in a working directory; None where it is not known."""
    return share(record.read(directory).get("starts", []))


def share(starts: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the goodput of these starts of a run, in the order in which they were made.

    Starts that were killed before they wrote anything, and those of older versions, are left out;
    None where there is no other.
    """
    made = total = 0.0
    for number, start in enumerate(starts):
        if "seconds" not in start:
            continue
        first, last = start["step"], start["last"]
        kept = min([last, *(later["step"] for later in starts[number + 1 :])])
        total += start["seconds"]
        if last > first:
            made += start["in_steps"] * max(kept - first, 0) / (last - first)
    return made / total if total else None
