"""Means over steps, where the time of a step went, and the progress line."""

import time
from collections.abc import Mapping


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
    """Measures where the time of the steps since the last reading went."""

    def __init__(self, *, batch_size: int) -> None:
        """batch_size: images in a step, over all processes."""
        self._batch_size = batch_size
        self.restart()

    def restart(self) -> None:
        """Forgets the time that has passed: called after compiling, evaluating and saving."""
        self._start = time.monotonic()
        self._steps, self._waited = 0, 0.0

    def add_step(self, *, waited: float) -> None:
        """Counts a step and the seconds that it waited for its batch."""
        self._steps += 1
        self._waited += waited

    def take(self) -> dict[str, float]:
        """Returns steps and images a second and the share of time spent waiting; starts again."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rates = {
            "steps_per_sec": self._steps / seconds,
            "images_per_sec": self._steps * self._batch_size / seconds,
            "data_wait": min(self._waited / seconds, 1.0),
        }
        self.restart()
        return rates


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
