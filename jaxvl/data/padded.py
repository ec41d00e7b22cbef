"""Padded batches of images, for evaluation.

Letters: g rows of this process, G rows of the global batch, n images of these, S side of an image.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.prefetch import Prefetch
from jaxvl.errors import UserError


def padded_batches(
    pixels: Callable[..., np.ndarray],
    count: int,
    data: ConfigDict,
    *,
    batch_size: int,
    process_index: int,
    process_count: int,
    fetch: Callable[[np.ndarray], Iterable[Any]] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields dict(image uint8 [g, S, S, 3], index int32 [g], mask bool [g]) of `count` images.

    Every index comes once over all processes; the last batch is padded where mask is False; every
    process yields the same number of batches.
    pixels: (index) -> uint8 [S, S, 3], called in threads. data: config.data. batch_size: G.
    fetch: (int32 [n]) -> n items, for what is read faster in bulk; then (index, item) -> pixels.
    Raises UserError if the processes do not divide the batch.
    """
    rows = local_rows(batch_size, process_index, process_count)

    def batch(step: int) -> dict[str, np.ndarray]:
        index_g = (step * batch_size + rows).astype(np.int32)
        mask_g = index_g < count
        image_g = np.zeros((len(rows), data.image_size, data.image_size, 3), np.uint8)
        if mask_g.any():
            index_n = index_g[mask_g]
            given = (index_n, fetch(index_n)) if fetch else (index_n,)
            image_g[mask_g] = list(workers.map(pixels, *given))
        return {"image": image_g, "index": np.where(mask_g, index_g, 0), "mask": mask_g}

    steps = range(-(-count // batch_size))
    ahead = dict(depth=data.prefetch_batches, threads=data.loader_threads)
    with ThreadPoolExecutor(os.cpu_count()) as workers, Prefetch(batch, steps, **ahead) as ready:
        for _, images in ready:
            yield images


def local_rows(batch_size: int, process_index: int, process_count: int) -> np.ndarray:
    """Returns the rows of the global batch that are this process's, int [g].

    Raises UserError if the processes do not divide the batch.
    """
    if batch_size % process_count:
        raise UserError(
            f"batch_size: {batch_size} is not divisible by the {process_count} processes"
        )
    local = batch_size // process_count
    return np.arange(process_index * local, (process_index + 1) * local)
