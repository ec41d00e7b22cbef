"""Feeds a compiled function from the host: padded batches of one shape in, NumPy arrays out.

Letters: S side of an image.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxvl.data.padded import padded_batches
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
    pixels: Callable[[int], np.ndarray], count: int, data: ConfigDict, *, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Returns this process's `jaxvl.data.padded.padded_batches` of images that all processes have.

    pixels: (index) -> uint8 [S, S, 3]. data: config.data. batch_size: over all processes.
    """
    return padded_batches(
        pixels,
        count,
        data,
        batch_size=batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def whole_images(batches: Iterable[Any], count: int) -> list[np.ndarray]:
    """Returns the images uint8 [S, S, 3] in order, on every process. batches: of each process."""
    from jax.experimental.multihost_utils import process_allgather

    images = [np.zeros(0, np.uint8)] * count
    for batch in batches:
        if jax.process_count() > 1:
            batch = process_allgather(batch, tiled=True)
        for image, index, real in zip(batch["image"], batch["index"], batch["mask"]):
            if real:
                images[index] = np.asarray(image)
    return images
