"""Augmented crops a second: jaxvl's input pipeline and a torch DataLoader, side by side.

    python benchmarks/data.py --images DIR

Both do the same work on the same JPEGs: random resized crop, flip and RandAugment ("albef"), and
with colour jitter, greyscale and blur on top ("softmask"). jaxvl reads ArrayRecord from disk and
tokenises a caption for each picture too; the DataLoader (PIL, NumPy) has its bytes in memory. The
two take turns, so that other load on the machine falls on both. The last line is a JSON object.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from data_peer import Crops, synthetic_jpegs

from jaxvl.config import base

DISTORTED = {
    "color_jitter_probability": 0.8,
    "greyscale_probability": 0.2,
    "blur_probability": 0.5,
}
PLAIN = dict.fromkeys(DISTORTED, 0.0)


def main():
    flags = parse_flags()
    paths = sorted(Path(flags.images).rglob("*.jpg"))[: flags.count] if flags.images else []
    encoded = [path.read_bytes() for path in paths] or synthetic_jpegs(flags.count, size=160)
    results = {
        "pictures": f"{len(encoded)} from {flags.images}" if paths else "synthetic",
        "image_size": flags.image_size,
        "workers": flags.workers,
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, tokenizer = prepare(encoded, Path(folder) / "prepared")
        for name, keys in (("albef", PLAIN), ("softmask", DISTORTED)):
            cfg = base().data
            cfg.update(image_size=flags.image_size, loader_threads=flags.workers, **keys)
            results[name] = compare(source, tokenizer, encoded, cfg, flags)
    results["load_average_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(results))


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="", help="folder of JPEGs; synthetic ones without it")
    parser.add_argument("--count", type=int, default=2048, help="pictures used")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=24, help="batches of one turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each side")
    parser.add_argument("--workers", type=int, default=2, help="threads here, processes there")
    return parser.parse_args()


def compare(source, tokenizer, encoded, cfg, flags):
    """Turns of both sides: median rates, and the median of the ratios of neighbouring turns."""
    ours, theirs = [], []
    next_ours = jaxvl_batches(source, tokenizer, cfg, flags)
    next_theirs = torch_batches(encoded, cfg, flags)
    for _ in range(flags.turns):
        ours.append(rate(next_ours, flags))
        theirs.append(rate(next_theirs, flags))
        print(f"jaxvl {ours[-1]:6.0f}   torch DataLoader {theirs[-1]:6.0f}   crops a second")
    return {
        "jaxvl_per_second": round(statistics.median(ours)),
        "torch_per_second": round(statistics.median(theirs)),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs)), 2),
        "best_jaxvl_per_second": round(max(ours)),
        "best_torch_per_second": round(max(theirs)),
    }


def rate(batches, flags):
    """Pictures a second over one turn; the first batches, which fill the queues, not counted."""
    with batches() as ready:
        for _ in range(4):
            next(ready)
        start = time.perf_counter()
        for _ in range(flags.batches):
            image = next(ready)
            assert image.shape == (flags.batch_size, flags.image_size, flags.image_size, 3)
        return flags.batches * flags.batch_size / (time.perf_counter() - start)


def prepare(encoded, directory):
    from jaxvl.data import store, tokenizer
    from jaxvl.data.sources import open_source

    records = (
        {"image": image, "file_name": f"{i}.jpg", "captions": [f"picture number {i}"] * 5}
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
    source = open_source(directory=directory, name="", split="train")
    return source, tokenizer.load(directory)


def jaxvl_batches(source, tokenizer, cfg, flags):
    """A function that starts a fresh run of our pipeline, as a context manager."""
    from contextlib import contextmanager

    from jaxvl.data.batches import make_batches, prefetch

    made = make_batches(
        [(source, 1.0)],
        tokenizer,
        cfg,
        seed=0,
        batch_size=flags.batch_size,
        process_index=0,
        process_count=1,
    )
    made.batch(0)  # traced once, as a training run does

    @contextmanager
    def start():
        steps = range(4 + flags.batches)
        with prefetch(made.batch, steps, depth=4, threads=flags.workers) as ready:
            yield (batch["image"] for _, batch in ready)

    return start


def torch_batches(encoded, cfg, flags):
    """A function that starts a fresh epoch of a torch DataLoader, as a context manager."""
    from contextlib import contextmanager

    import torch
    from torch.utils.data import DataLoader

    steps = 4 + flags.batches
    data = Crops(encoded, cfg)
    indices = np.random.default_rng(0).integers(len(data), size=steps * flags.batch_size).tolist()
    loader = DataLoader(
        data,
        batch_size=flags.batch_size,
        sampler=indices,
        num_workers=flags.workers,
        collate_fn=lambda images: torch.from_numpy(np.stack(images)),
        persistent_workers=True,
        prefetch_factor=2,
    )

    @contextmanager
    def start():
        yield iter(loader)

    return start


if __name__ == "__main__":
    main()
