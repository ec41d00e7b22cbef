"""Numbers of a run written as they come: metrics.jsonl and event files for TensorBoard."""

import json
import math
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from jaxvl import files, paths
from jaxvl.errors import UserError
from jaxvl.training import growing


class Writer:
    """Writes one JSON object a line to WORKDIR/metrics.jsonl, and scalars to TensorBoard."""

    def __init__(
        self, workdir: Path | str, *, from_step: int, tensorboard: bool, again: bool = False
    ) -> None:
        """Opens the files. Lines after `from_step` are dropped, so that no step comes twice.

        again: the scores after `from_step` are dropped too.
        """
        path = paths.of(workdir) / "metrics.jsonl"
        growing.merge(path)
        _keep_lines_until(path, from_step, again=again)
        self._file = growing.add_lines(path)
        self._board = _Board(paths.of(workdir) / "tensorboard", from_step) if tensorboard else None

    def write(self, values: Mapping[str, float], *, step: int) -> None:
        """Writes the values of a step. A value that is not finite is null in the JSON."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        self._file.flush()
        if self._board:
            self._board.scalars(values, step)

    def image(self, name: str, path: Path, *, step: int) -> None:
        """Shows the PNG at `path` in TensorBoard."""
        if self._board:
            self._board.image(name, path.read_bytes(), step)

    def close(self) -> None:
        """Flushes and closes the files."""
        self._file.close()
        if self._board:
            self._board.close()


def _keep_lines_until(path, step, *, again):
    if not path.exists():
        return
    kept = []
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); remove it") from None
    for line in text.splitlines():
        try:
            values = json.loads(line)
            dropped = again and values["step"] == step and "loss" not in values
            if values["step"] <= step and not dropped:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # the line that a killed run was writing
    files.write_text(path, "".join(kept))


class _Board:
    """TensorBoard's event files, written without the tensorboard package.

    They are TFRecords of Event messages; TensorBoard recognises a value by the name of a plug-in in
    its metadata. A full disk is an exception here; from TensorFlow's own writer it is also lines of
    its log.
    """

    def __init__(self, directory, from_step):
        from jaxvl.data.host_tf import tf

        self._tf = tf
        files.make_folder(directory)
        started = time.time()
        name = f"events.out.tfevents.{started:.0f}.{platform.node()}.{os.getpid()}"
        path = directory / f"{name}.from_step_{from_step}"
        self._twin = growing.Twin(path)
        self._records = tf.io.TFRecordWriter(str(self._twin.local))
        version = tf.compat.v1.Event(wall_time=started, file_version="brain.Event:2")
        self._records.write(version.SerializeToString())

    def scalars(self, values, step):
        float32 = self._tf.float32
        tensors = {name: self._tf.make_tensor_proto(v, float32) for name, v in values.items()}
        self._write(tensors, "scalars", step)

    def image(self, name, png, step):
        height, width = self._tf.io.decode_png(png).shape[:2]
        sizes = [str(width).encode(), str(height).encode()]
        self._write({name: self._tf.make_tensor_proto([*sizes, png])}, "images", step)

    def _write(self, tensors, plugin, step):
        v1 = self._tf.compat.v1
        metadata = v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = plugin
        values = [
            v1.Summary.Value(tag=name, tensor=tensor, metadata=metadata)
            for name, tensor in tensors.items()
        ]
        event = v1.Event(wall_time=time.time(), step=step, summary=v1.Summary(value=values))
        self._records.write(event.SerializeToString())
        self._records.flush()
        self._twin.flush()

    def close(self):
        self._records.close()
        self._twin.close()
