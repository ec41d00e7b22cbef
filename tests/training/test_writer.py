"""metrics.jsonl never has a step twice; event files that TensorBoard can read."""

import json
import math

from PIL import Image

from jaxvl.training.writer import Writer


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def written(directory, steps, *, from_step=0):
    writer = Writer(directory, from_step=from_step, tensorboard=False)
    for step in steps:
        writer.write({"loss": float(step)}, step=step)
    writer.close()


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
    writer = Writer(tmp_path, from_step=0, tensorboard=False)
    writer.write({"a": math.nan, "b": math.inf, "c": 1.0}, step=1)
    assert lines(tmp_path) == [{"step": 1, "a": None, "b": None, "c": 1.0}]


def test_tensorboard_reads_scalars_and_images(tmp_path):
    from jaxvl.data.host_tf import tf

    png = tmp_path / "panel.png"
    Image.new("RGB", (6, 4)).save(png)
    writer = Writer(tmp_path, from_step=0, tensorboard=True)
    writer.write({"loss": 1.5}, step=3)
    writer.image("panel", png, step=3)
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
