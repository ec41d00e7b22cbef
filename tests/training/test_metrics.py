"""Means, the progress line, JSON lines that never repeat a step, event files."""

import json
import math
from types import SimpleNamespace

from PIL import Image

from jaxvl.training import metrics


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def written(directory, steps, *, from_step=0):
    writer = metrics.Writer(directory, from_step=from_step, tensorboard=False)
    for step in steps:
        writer.write({"loss": float(step)}, step=step)
    writer.close()


def test_means_are_over_the_steps_that_had_the_value():
    means = metrics.Means()
    means.add({"loss": 1.0, "rare": 5.0})
    means.add({"loss": 3.0})
    assert means.take() == {"loss": 2.0, "rare": 5.0}
    assert means.take() == {}


def test_a_continued_run_drops_the_lines_after_its_checkpoint(tmp_path):
    written(tmp_path, [1, 2, 3])
    written(tmp_path, [3, 4], from_step=2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_a_line_that_a_killed_run_left_unfinished_is_dropped(tmp_path):
    written(tmp_path, [1])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    written(tmp_path, [2], from_step=1)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_a_value_that_is_not_finite_is_null(tmp_path):
    writer = metrics.Writer(tmp_path, from_step=0, tensorboard=False)
    writer.write({"a": math.nan, "b": math.inf, "c": 1.0}, step=1)
    assert lines(tmp_path) == [{"step": 1, "a": None, "b": None, "c": 1.0}]


def test_the_progress_line_says_step_losses_speed_waiting_and_time_left():
    values = {
        "loss": 2.5,
        "loss/itc": 1.25,
        "learning_rate": 1e-4,
        "steps_per_sec": 0.5,
        "images_per_sec": 32.0,
        "data_wait": 0.25,
        "norm/gradient": 7.0,
    }
    line = metrics.progress_line(values, step=100, total_steps=400)
    assert line == (
        "step 100/400  loss 2.5000  loss/itc 1.2500  lr 1.00e-04  32.0 images/s  "
        "waiting for data 25%  10m00s left"
    )


def test_rates_are_of_the_time_since_the_last_reading(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = metrics.Clock(batch_size=8)
    for waited in (0.5, 1.5):
        clock.add_step(waited=waited)
    now[0] += 4.0
    assert clock.take() == {"steps_per_sec": 0.5, "images_per_sec": 4.0, "data_wait": 0.5}
    clock.add_step(waited=0.0)
    now[0] += 2.0
    assert clock.take() == {"steps_per_sec": 0.5, "images_per_sec": 4.0, "data_wait": 0.0}


def test_durations():
    assert [metrics.duration(s) for s in (4.4, 200, 18_420)] == ["4s", "3m20s", "5h07m"]


def test_tensorboard_reads_scalars_and_the_picture(tmp_path):
    import tensorflow as tf

    png = tmp_path / "panel.png"
    Image.new("RGB", (6, 4)).save(png)
    writer = metrics.Writer(tmp_path, from_step=0, tensorboard=True)
    writer.write({"loss": 1.5}, step=3)
    writer.picture("panel", png, step=3)
    writer.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = {}
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            found[value.tag] = (event.step, plugin, tf.make_ndarray(value.tensor))
    step, plugin, number = found["loss"]
    assert (step, plugin, float(number)) == (3, "scalars", 1.5)
    step, plugin, parts = found["panel"]
    assert (step, plugin, list(parts[:2])) == (3, "images", [b"6", b"4"])
    assert parts[2] == png.read_bytes()
