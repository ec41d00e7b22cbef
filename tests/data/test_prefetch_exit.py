"""Prefetching: in order, errors at the caller, and a process that always ends by itself."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxvl.data.prefetch import Prefetch

pytestmark = pytest.mark.slow


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_batches_come_in_order_however_long_each_takes():
    def batch(step):
        time.sleep(0.02 if step % 3 == 0 else 0)
        return step * 10

    with Prefetch(batch, range(5, 25), depth=4, threads=3) as ready:
        assert list(ready) == [(step, step * 10) for step in range(5, 25)]


def test_no_more_than_depth_batches_are_ahead_of_the_caller():
    started = []
    with Prefetch(started.append, range(100), depth=3, threads=2) as ready:
        for taken in range(1, 11):
            next(ready)
            assert len(started) <= taken + 3


def test_an_exception_reaches_the_caller_at_its_turn():
    def batch(step):
        if step == 3:
            raise ValueError("image 3 is broken")
        return step

    got = []
    with pytest.raises(ValueError, match="image 3 is broken"):
        with Prefetch(batch, range(10), depth=4, threads=2) as ready:
            got.extend(step for step, _ in ready)
    assert got == [0, 1, 2]
    assert not loader_threads()


def test_after_close_there_are_no_threads_and_no_batches():
    ready = Prefetch(lambda step: step, iter(range(10**9)), depth=4, threads=2)
    assert next(ready) == (0, 0)
    ready.close()
    assert list(ready) == [] and not loader_threads()


PIPELINE = """
import io, sys
from types import SimpleNamespace
import numpy as np
from PIL import Image
from jaxvl.data.text import tokenizer
from jaxvl.data.batches import make_batches
from jaxvl.data.prefetch import Prefetch
from jaxvl.data.host_tf import tf
from jaxvl.data.sources import Source

buffer = io.BytesIO()
Image.new("RGB", (16, 16)).save(buffer, "PNG")
record = {"image": tf.constant(buffer.getvalue()), "captions": tf.constant(["an image"])}
source = Source("images", 99, "0", lambda index: [b""] * len(index), lambda serialized: record)
cfg = SimpleNamespace(
    image_size=16, crop_scale=(0.2, 1), flip_probability=0, rand_augment_operations=0,
    color_jitter_probability=0, greyscale_probability=0, blur_probability=0,
    max_tokens=4, max_words=4, add_sep=False, words="", negatives="", second_view=False)
words = tokenizer.train(["an image"], vocabulary_size=30)
made = make_batches([(source, 1.0)], words, cfg, seed=0, batch_size=32,
                    rows=np.arange(32))
"""

ENDINGS = """
ending = sys.argv[1]
if ending == "twenty times":
    for number in range(20):
        ready = Prefetch(made.batch, range(10**6), depth=4, threads=2)
        next(ready), next(ready)
        if number % 2:  # the others are dropped while batches are being computed
            ready.close()
ready = Prefetch(made.batch, range(10**6), depth=4, threads=2)
next(ready), next(ready)
print("ready", flush=True)
if ending == "exception":
    raise RuntimeError("in the middle")
if ending == "exit":
    sys.exit(7)
if ending == "sigterm":
    for step in ready: pass
"""


CODES = {"twenty times": 0, "exception": 1, "exit": 7, "sigterm": -signal.SIGTERM}


@pytest.fixture(scope="module")
def processes():
    """A process for each way to end, all of them started at once: importing TF takes seconds."""
    started = {
        ending: subprocess.Popen(
            [sys.executable, "-c", PIPELINE + ENDINGS, ending],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for ending in CODES
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ending", CODES)
def test_a_process_ends_by_itself_in_the_middle_of_an_epoch(processes, ending):
    process = processes[ending]
    if ending == "sigterm":
        assert process.stdout.readline() == "ready\n"
        process.terminate()
    _, errors = process.communicate(timeout=150)  # nearly all of it TF's import, on a busy machine
    assert process.returncode == CODES[ending], errors
    assert ("in the middle" in errors) == (ending == "exception")
