"""Scenes, the embedded data set: rendered images whose every word, box and negative is known."""

import functools
import io
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from jaxvl.data.processes import ordered_map
from jaxvl.data.scenes.captions import describe, write
from jaxvl.data.scenes.layout import sample
from jaxvl.data.scenes.levels import DEFAULT_LEVEL, LEVELS
from jaxvl.data.scenes.negatives import contradict, contradict_others
from jaxvl.data.scenes.render import render
from jaxvl.data.scenes.truth import holds
from jaxvl.data.scenes.vocabulary import HELD_OUT
from jaxvl.data.scenes.world import World

__all__ = [
    "DEFAULT_LEVEL",
    "HELD_OUT",
    "SPLITS",
    "VERSION",
    "World",
    "generate",
    "holds",
    "record",
    "world",
]

SPLITS = ("train", "val", "test", "unseen")
VERSION = 3  # increased when the same seed gives other records
QUALITY = 95  # of the JPEG files
_CHUNK = 64  # records that a process makes at once


def world(index: int, *, split: str, seed: int, level: int = DEFAULT_LEVEL) -> World:
    """Returns the scene of record `index`, to ask what is true of it (`holds(caption, world)`)."""
    return sample(_random(index, split, seed), LEVELS[level], unseen=split == "unseen")


def record(
    index: int, *, split: str, size: int, seed: int, level: int = DEFAULT_LEVEL
) -> dict[str, Any]:
    """Returns record `index` of a split as described in `jaxvl.data.schema`.

    It depends on the arguments alone. size: pixels of a side of the image. level: a key of LEVELS.
    """
    rng, rules = _random(index, split, seed), LEVELS[level]
    unseen = split == "unseen"
    scene = sample(rng, rules, unseen=unseen)
    drafts = describe(scene, rules, rng)
    written = [write(parts) for parts in drafts]
    captions = [text for text, _ in written]
    negatives = contradict(captions, drafts, scene, rules, rng, unseen=unseen)
    pixels = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    image = render(scene, size, pixels, clutter=rules.clutter)
    negatives += contradict_others(negatives, captions, drafts, scene, rules, rng, unseen=unseen)
    mentions = [(c, w, o) for c, (_, pairs) in enumerate(written) for w, o in pairs]
    return {
        "image": _jpeg(image),
        "file_name": f"{split}_{index:07d}.jpg",
        "captions": captions,
        "boxes": np.array(scene.boxes, np.float32),
        "mentions": np.array(mentions, np.int64),
        "negatives": [text for text, _, _ in negatives],
        "negative_kinds": [kind for _, kind, _ in negatives],
        "negative_captions": np.array([c for _, _, c in negatives], np.int64),
    }


def generate(
    *, split: str, count: int, size: int, seed: int, workers: int, level: int = DEFAULT_LEVEL
) -> Iterator[dict[str, Any]]:
    """Yields the first `count` records of a split in order.

    workers: number of processes; 1 makes the records in this process. The records are the same for
    every number. level: a key of LEVELS. Raises UserError where a worker process dies.
    """
    one = functools.partial(record, split=split, size=size, seed=seed, level=level)
    return ordered_map(one, range(count), workers=workers, chunk=_CHUNK)


def _random(index: int, split: str, seed: int) -> random.Random:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    return random.Random(f"{seed}/{split}/{index}")


def _jpeg(image_HxWx3: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image_HxWx3).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
