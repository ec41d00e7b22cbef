"""Means over steps, where the time of a step went, and the progress line."""

import time
from collections.abc import Mapping

from jaxvl.training.pace import Pace, compiled_seconds, warnings


class Means:
    """Means of named values, each over the steps that had it."""

    def __init__(self) -> None:
        """Starts without values."""
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Adds the values of one step."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        """Returns the means, and starts again without values."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means


class Clock:
    """Measures where the time of the steps since the last reading went.

    in_steps: seconds of all steps since it was made. warnings: {name of a share: what to say of
    it}, of the last reading.
    """

    def __init__(self, *, batch_size: int) -> None:
        """batch_size: images in a step, over all processes."""
        self._batch_size = batch_size
        self.in_steps, self.warnings = 0.0, {}
        self._pace = Pace()
        self.restart()

    def restart(self) -> None:
        """Forgets the time that has passed: called after compiling, evaluating and saving."""
        self._begin()
        self._counted, self._last = self._start, None

    def _begin(self):
        self._start, self._compiled = time.monotonic(), compiled_seconds()
        self._steps, self._waited, self._lost = 0, 0.0, 0.0

    def add_step(self, *, waited: float) -> None:
        """Counts a step and the seconds that it waited for its batch."""
        self._steps += 1
        self._waited += waited
        self.count()
        if self._last is not None:
            self._lost += self._pace.lost(self._counted - self._last)
        self._last = self._counted

    def count(self) -> None:
        """Counts the time until now as time in steps: called before saving and evaluating."""
        now = time.monotonic()
        self.in_steps += now - self._counted
        self._counted = now

    def take(self) -> dict[str, float]:
        """Returns steps and images a second, and shares of the time; starts again.

        data_wait: waiting for data. slow_steps: lost in steps that took several times as long as
        usual. compile_wait: compiling again.
        """
        seconds = max(time.monotonic() - self._start, 1e-9)
        spent = {
            "data_wait": self._waited,
            "slow_steps": self._lost,
            "compile_wait": compiled_seconds() - self._compiled,
        }
        shares = {name: min(value / seconds, 1.0) for name, value in spent.items()}
        self.warnings = warnings(shares, seconds=seconds)
        rates = {
            "steps_per_sec": self._steps / seconds,
            "images_per_sec": self._steps * self._batch_size / seconds,
        }
        self._begin()
        return {**rates, **shares}


def progress_line(values: Mapping[str, float], *, step: int, total_steps: int) -> str:
    """Returns one line: step, losses, learning rate, speed, share of waiting, time left."""
    losses = [f"{name} {value:.4f}" for name, value in values.items() if name.startswith("loss")]
    seconds_left = (total_steps - step) / max(values["steps_per_sec"], 1e-9)
    parts = [
        f"step {step}/{total_steps}",
        *losses,
        f"lr {values['learning_rate']:.2e}",
        f"{values['images_per_sec']:.1f} images/s",
        f"waiting for data {values['data_wait']:.0%}",
        f"{duration(seconds_left)} left",
    ]
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Returns seconds as 4s, 3m20s or 5h07m."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}m{seconds:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
