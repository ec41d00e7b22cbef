"""Scenes, the embedded data set: rendered pictures whose every word, box and negative is known."""

import io
import multiprocessing
import random
from collections import deque

import numpy as np
from PIL import Image

from jaxvl.data.scenes.captions import describe, write
from jaxvl.data.scenes.layout import sample
from jaxvl.data.scenes.negatives import contradict, contradict_others
from jaxvl.data.scenes.render import render
from jaxvl.data.scenes.truth import holds
from jaxvl.data.scenes.vocabulary import HELD_OUT
from jaxvl.data.scenes.world import World

__all__ = ["HELD_OUT", "SPLITS", "VERSION", "World", "generate", "holds", "record", "world"]

SPLITS = ("train", "val", "test", "unseen")
VERSION = 3  # counts changes after which the same seed gives other records
QUALITY = 95
_CHUNK = 64


def _random(index, split, seed):
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    return random.Random(f"{seed}/{split}/{index}")


def world(index, *, split, seed):
    """The scene behind record `index`, to ask what is true of it (`holds(caption, world)`)."""
    return sample(_random(index, split, seed), unseen=split == "unseen")


def record(index, *, split, size, seed):
    """Record `index` of a split: a pure function of its arguments.

    size: pixels of the picture's side. Returns a dict as `data/store.py` describes it.
    """
    rng = _random(index, split, seed)
    unseen = split == "unseen"
    scene = sample(rng, unseen=unseen)
    drafts = describe(scene, rng)
    written = [write(parts) for parts in drafts]
    captions = [text for text, _ in written]
    negatives = contradict(captions, drafts, scene, rng, unseen=unseen)
    picture = render(scene, size, np.random.Generator(np.random.PCG64(rng.getrandbits(64))))
    negatives += contradict_others(negatives, captions, drafts, scene, rng, unseen=unseen)
    mentions = [(c, w, o) for c, (_, pairs) in enumerate(written) for w, o in pairs]
    return {
        "image": _jpeg(picture),
        "file_name": f"{split}_{index:07d}.jpg",
        "captions": captions,
        "boxes": np.array(scene.boxes, np.float32),
        "mentions": np.array(mentions, np.int64),
        "negatives": [text for text, _, _ in negatives],
        "negative_kinds": [kind for _, kind, _ in negatives],
        "negative_captions": np.array([c for _, _, c in negatives], np.int64),
    }


def _jpeg(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _records(indices, split, size, seed):
    return [record(index, split=split, size=size, seed=seed) for index in indices]


def generate(*, split, count, size, seed, workers):
    """Yields the first `count` records of a split in order, made by `workers` processes.

    workers: 0 makes them in this process. The records do not depend on it.
    """
    chunks = [range(k, min(k + _CHUNK, count)) for k in range(0, count, _CHUNK)]
    if workers == 0:
        for chunk in chunks:
            yield from _records(chunk, split, size, seed)
        return
    # Spawned, since a fork of a process that runs TensorFlow's threads can hang.
    with multiprocessing.get_context("spawn").Pool(min(workers, max(1, len(chunks)))) as pool:
        ahead = deque()
        for chunk in chunks:
            ahead.append(pool.apply_async(_records, (chunk, split, size, seed)))
            if len(ahead) > 2 * workers:
                yield from ahead.popleft().get()
        while ahead:
            yield from ahead.popleft().get()
