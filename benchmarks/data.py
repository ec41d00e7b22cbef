"""Measures augmented crops a second: jaxvl's input pipeline and a torch DataLoader in turn.

    python benchmarks/data.py --images DIR

Both do the same work on the same JPEGs: random resized crop, flip and RandAugment ("albef"), and
with colour jitter, greyscale and blur on top ("softmask"), and one tokenised caption an image.
jaxvl reads ArrayRecord from disk, the DataLoader (PIL, NumPy) has its bytes in memory. The two take
turns, so that other load on the machine affects both. `cpu_ms` is the processor time of a crop
(workers and main process), which other load distorts least. The last line is a JSON object.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from data_peer import Crops, synthetic_jpegs

from jaxvl.config import base

DISTORTED = {
    "color_jitter_probability": 0.8,
    "greyscale_probability": 0.2,
    "blur_probability": 0.5,
}
CAPTION = "A brown dog runs through the tall grass with a red ball in its mouth."
WARM_UP = 4  # batches
PLAIN = dict.fromkeys(DISTORTED, 0.0)


def main():
    flags = parse_flags()
    paths = sorted(Path(flags.images).rglob("*.jpg"))[: flags.count] if flags.images else []
    encoded = [path.read_bytes() for path in paths] or synthetic_jpegs(flags.count, size=160)
    results = {
        "images": f"{len(encoded)} from {flags.images}" if paths else "synthetic",
        "image_size": flags.image_size,
        "workers": flags.workers,
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, tokenizer = prepare(encoded, Path(folder) / "prepared")
        for name, keys in (("albef", PLAIN), ("softmask", DISTORTED)):
            data = base().data
            data.update(image_size=flags.image_size, loader_threads=flags.workers, **keys)
            results[name] = compare(source, tokenizer, encoded, data, flags)
    results["load_average_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(results))


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="", help="folder of JPEGs; synthetic ones without it")
    parser.add_argument("--count", type=int, default=2048, help="images used")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=24, help="batches of one turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each side")
    parser.add_argument("--workers", type=int, default=2, help="threads here, processes there")
    return parser.parse_args()


def compare(source, tokenizer, encoded, data, flags):
    """Returns medians over the turns of both sides: rates, ratios of neighbouring turns, CPU."""
    sides = {
        "jaxvl": jaxvl_batches(source, tokenizer, data, flags),
        "torch": torch_batches(encoded, tokenizer, data, flags),
    }
    turns = {name: [] for name in sides}
    for _ in range(flags.turns):
        for name, batches in sides.items():
            turns[name].append(take_turn(batches, flags))
        print("   ".join(f"{name} {turns[name][-1][0]:6.0f} crops a second" for name in sides))
    rates, cpu = ({n: [turn[i] for turn in turns[n]] for n in sides} for i in (0, 1))
    ratios = [ours / theirs for ours, theirs in zip(rates["jaxvl"], rates["torch"])]
    return {
        "per_second": {name: round(statistics.median(rates[name])) for name in sides},
        "best_per_second": {name: round(max(rates[name])) for name in sides},
        "ratio": round(statistics.median(ratios), 2),
        "cpu_ms": {name: round(statistics.median(cpu[name]), 2) for name in sides},
    }


def take_turn(batches, flags):
    """Returns images a second and CPU ms an image.

    The first batches, which fill the queues, do not count for the rate.
    """
    cpu_before = cpu_seconds()
    with batches() as ready:
        for _ in range(WARM_UP):
            next(ready)
        start = time.perf_counter()
        for _ in range(flags.batches):
            image = next(ready)
            assert image.shape == (flags.batch_size, flags.image_size, flags.image_size, 3)
        rate = flags.batches * flags.batch_size / (time.perf_counter() - start)
    crops = (WARM_UP + flags.batches) * flags.batch_size
    return rate, 1000 * (cpu_seconds() - cpu_before) / crops


def cpu_seconds():
    """Returns the processor time of this process and of its workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def prepare(encoded, directory):
    """Writes the images as a prepared data set; returns its source and its tokenizer."""
    from jaxvl.data import store
    from jaxvl.data.sources import open_prepared
    from jaxvl.data.text import tokenizer

    records = (
        {"image": image, "file_name": f"{i}.jpg", "captions": [CAPTION] * 5}
        for i, image in enumerate(encoded)
    )
    store.write(
        directory,
        kind="benchmark",
        splits={"train": records},
        counts={"train": len(encoded)},
        meta={},
        vocabulary_size=1000,
    )
    source = open_prepared(directory, split="train")
    return source, tokenizer.load(directory)


def jaxvl_batches(source, tokenizer, data, flags):
    """Returns a function that starts a new run of jaxvl's pipeline, as a context manager."""
    from jaxvl.data.batches import make_batches
    from jaxvl.data.prefetch import Prefetch

    made = make_batches(
        [(source, 1.0)],
        tokenizer,
        data,
        seed=0,
        batch_size=flags.batch_size,
        rows=np.arange(flags.batch_size),
    )
    made.batch(0)  # traced once, as a training run does

    @contextmanager
    def start():
        steps = range(WARM_UP + flags.batches)
        with Prefetch(made.batch, steps, depth=4, threads=flags.workers) as ready:
            yield (batch["image"] for _, batch in ready)

    return start


def torch_batches(encoded, tokenizer, data, flags):
    """Returns a function that starts a new epoch of a torch DataLoader, as a context manager."""
    import torch
    from torch.utils.data import DataLoader

    from jaxvl.data.text.tokenizer import encode

    steps = WARM_UP + flags.batches
    indices = np.random.default_rng(0).integers(len(encoded), size=steps * flags.batch_size)

    def collate(images):
        tokens = encode(
            tokenizer,
            [CAPTION] * len(images),
            max_tokens=data.max_tokens,
            max_words=data.max_words,
            add_sep=data.add_sep,
        )
        return torch.from_numpy(np.stack(images)), torch.from_numpy(tokens.ids)

    loader = DataLoader(
        Crops(encoded, data),
        batch_size=flags.batch_size,
        sampler=indices.tolist(),
        num_workers=flags.workers,
        collate_fn=collate,
    )

    @contextmanager
    def start():
        batches = (image for image, _ in loader)
        yield batches
        for _ in batches:  # at its end the workers end too, and their processor time is known
            pass

    return start


if __name__ == "__main__":
    main()
