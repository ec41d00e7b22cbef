"""What keeps steps from their pace: waiting for data, steps that take too long, compiling again."""

import statistics
from collections import deque
from collections.abc import Mapping
from functools import cache

import jax

SEVERAL = 4  # times as long as usual
_KNOWN, _RECENT = 20, 100  # steps
_SECONDS = 5.0  # less is not worth a warning
_COMPILE = "/jax/core/compile/backend_compile_duration"

# {share of the time: (above which there is a warning, the warning)}
_WARNINGS = {
    "data_wait": (
        0.3,
        "{share:.0%} of the time the step waits for its data; raise data.loader_threads or "
        "data.prefetch_batches, prepare smaller images, or put the data on a faster disk",
    ),
    "slow_steps": (
        0.2,
        "{share:.0%} of the time is lost in steps that take several times as long as usual; look "
        "for other programs on the machine, a slow disk or a slow network",
    ),
    "compile_wait": (
        0.1,
        "{share:.0%} of the time goes into compiling again; something changes its shape from step "
        "to step",
    ),
}


class Pace:
    """The usual time of a step, and what slow ones lose."""

    def __init__(self) -> None:
        """Starts without steps."""
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def lost(self, seconds: float) -> float:
        """Returns by how much a step was longer than usual; 0 where not several times as long."""
        known = len(self._recent) >= _KNOWN
        usual = statistics.median(self._recent) if known else seconds
        self._recent.append(seconds)
        return seconds - usual if seconds > SEVERAL * usual else 0.0


def warnings(shares: Mapping[str, float], *, seconds: float) -> dict[str, str]:
    """Returns {name of a share: warning} of those that are too large. seconds: of the whole."""
    return {
        name: line.format(share=shares[name])
        for name, (limit, line) in _WARNINGS.items()
        if shares[name] > limit and shares[name] * seconds > _SECONDS
    }


def compiled_seconds() -> float:
    """Returns for how long this program has compiled since it first asked."""
    return sum(_compiles())


@cache
def _compiles():
    durations: list[float] = []

    def listen(event: str, duration_secs: float, **_) -> None:
        if event == _COMPILE:
            durations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return durations
