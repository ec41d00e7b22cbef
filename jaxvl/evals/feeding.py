"""Feeds a compiled function from the host: padded batches of one shape in, NumPy arrays out.

Letters: G rows of a batch over all processes, g those of one process, S side of an image.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxvl.data.prefetch import Prefetch
from jaxvl.sharding import batch_sharding
from jaxvl.types import Params


def outputs(
    step: Callable[[Params, Any], Any],
    params: Params,
    inputs: Iterable[Any],
    steps: int,
    *,
    label: str,
    progress: bool,
) -> Iterator[Any]:
    """Yields step(params, input) as NumPy, one step late: the host prepares the next meanwhile."""
    waiting = None
    shown = progress and jax.process_index() == 0
    for batch in tqdm(inputs, total=steps, desc=label, leave=False, delay=2, disable=not shown):
        result = step(params, batch)
        if waiting is not None:
            yield jax.tree.map(np.asarray, waiting)
        waiting = result
    if waiting is not None:
        yield jax.tree.map(np.asarray, waiting)


def padded_rows(count: int, batch_size: int) -> list[np.ndarray]:
    """Returns index arrays of length batch_size that cover range(count); the last row repeats."""
    starts = range(0, count, batch_size)
    return [np.minimum(np.arange(s, s + batch_size), count - 1) for s in starts]


def put_rows(batch: Any, mesh: Mesh) -> Any:
    """Returns a batch that every process has whole as global arrays, split along the first axis."""
    rows = batch_sharding(mesh)

    def put(array):
        return jax.make_array_from_callback(array.shape, rows, lambda index: array[index])

    return jax.tree.map(put, batch)


def image_batches(
    read: Callable[[np.ndarray], np.ndarray], count: int, data: ConfigDict, *, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this process's rows of padded batches of the images 0 ... count - 1, in order.

    A batch is {"image": uint8 [g, S, S, 3], "index": int32 [g], "mask": bool [g]}; the mask is
    False in padding. Every process yields the same number of batches.
    read: (int32 [n]) -> uint8 [n, S, S, 3]; called in threads, and never for padding.
    data: config.data. batch_size: G, a multiple of the number of processes.
    """
    local = batch_size // jax.process_count()
    mine = slice(jax.process_index() * local, (jax.process_index() + 1) * local)
    rows = padded_rows(count, batch_size)

    def batch(step):
        index_g = rows[step][mine].astype(np.int32)
        mask_g = (step * batch_size + np.arange(batch_size) < count)[mine]
        image_g = np.zeros((local, data.image_size, data.image_size, 3), np.uint8)
        if mask_g.any():
            image_g[mask_g] = read(index_g[mask_g])
        return {"image": image_g, "index": index_g, "mask": mask_g}

    steps = range(len(rows))
    with Prefetch(
        batch, steps, depth=data.prefetch_batches, threads=data.loader_threads
    ) as batches:
        for _, images in batches:
            yield images
