"""Means over steps, the progress line, metrics.jsonl and TensorBoard."""

import json
import math
import os
import time
from pathlib import Path


class Means:
    """Means of named values as (sum, count), weighed by the steps that had them."""

    def __init__(self):
        """Starts empty."""
        self._sums = {}

    def add(self, values):
        """Adds one step's floats."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def take(self):
        """Returns the means and starts anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means


class Clock:
    """Where the time of the steps since the last reading went."""

    def __init__(self, *, batch_size):
        """batch_size: global, for pictures a second."""
        self._batch_size = batch_size
        self.restart()

    def restart(self):
        """Forgets what has passed; after compiling, evaluating and saving."""
        self._start = time.monotonic()
        self._steps, self._waited = 0, 0.0

    def add_step(self, *, waited):
        """Counts a step and the seconds it waited for its batch."""
        self._steps += 1
        self._waited += waited

    def take(self):
        """Returns steps and images a second and the share spent waiting; starts anew."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rates = {
            "steps_per_sec": self._steps / seconds,
            "images_per_sec": self._steps * self._batch_size / seconds,
            "data_wait": min(self._waited / seconds, 1.0),
        }
        self.restart()
        return rates


def progress_line(values, *, step, total_steps):
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


def duration(seconds):
    """Returns 4s, 3m20s or 5h07m."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}m{seconds:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class Writer:
    """Writes one JSON object a line to WORKDIR/metrics.jsonl and scalars to TensorBoard."""

    def __init__(self, workdir, *, from_step, tensorboard):
        """Opens the file; lines after `from_step` are dropped, so that no step comes twice."""
        self._path = Path(workdir) / "metrics.jsonl"
        _keep_lines_until(self._path, from_step)
        self._file = self._path.open("a")
        self._board = _Board(Path(workdir) / "tensorboard", from_step) if tensorboard else None

    def write(self, values, *, step):
        """Writes the values of a step. What is not finite becomes null in the JSON."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        self._file.flush()
        if self._board:
            self._board.scalars(values, step)

    def picture(self, name, path, *, step):
        """Shows the PNG at `path` in TensorBoard."""
        if self._board:
            self._board.picture(name, Path(path).read_bytes(), step)

    def close(self):
        """Flushes and closes."""
        self._file.close()
        if self._board:
            self._board.close()


def _keep_lines_until(path, step):
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue  # the line a killed run was writing
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(kept))
    os.replace(temporary, path)


class _Board:
    """TensorBoard's event files, written without the tensorboard package: its plug-ins recognise
    a value by the plug-in name in its metadata."""

    def __init__(self, directory, from_step):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        self._tf = tf
        suffix = f".from_step_{from_step}"
        self._writer = tf.summary.create_file_writer(str(directory), filename_suffix=suffix)

    def scalars(self, values, step):
        with self._writer.as_default(step=step):
            for name, value in values.items():
                self._write(name, self._tf.constant(value, self._tf.float32), "scalars")
        self._writer.flush()

    def picture(self, name, png, step):
        height, width = self._tf.io.decode_png(png).shape[:2]
        with self._writer.as_default(step=step):
            sizes = [str(width).encode(), str(height).encode()]
            self._write(name, self._tf.constant([*sizes, png]), "images")
        self._writer.flush()

    def _write(self, name, tensor, plugin):
        metadata = self._tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = plugin
        self._tf.summary.write(name, tensor, metadata=metadata)

    def close(self):
        self._writer.close()
