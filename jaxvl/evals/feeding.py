"""Host arrays through a compiled function: padded batches of one shape in, NumPy out."""

import jax
import numpy as np
from tqdm import tqdm

from jaxvl.sharding import batch_sharding


def outputs(step, params, inputs, steps, *, label, progress):
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


def padded_rows(count, batch_size):
    """Returns index arrays of length batch_size that cover range(count); the last row repeats."""
    starts = range(0, count, batch_size)
    return [np.minimum(np.arange(s, s + batch_size), count - 1) for s in starts]


def put_rows(batch, mesh):
    """Returns a batch that every process has whole as global arrays, split along the first axis."""
    rows = batch_sharding(mesh)

    def put(array):
        return jax.make_array_from_callback(array.shape, rows, lambda index: array[index])

    return jax.tree.map(put, batch)
