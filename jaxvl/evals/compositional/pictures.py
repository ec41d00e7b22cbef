"""The pictures of a benchmark: looked through once, then read in batches, cropped to boxes."""

import os
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from tqdm import tqdm

from jaxvl import preprocessing
from jaxvl.data.images import untrusted
from jaxvl.data.images.untrusted import BadImage, Location
from jaxvl.data.prefetch import Prefetch
from jaxvl.evals.feeding import padded_rows


def look_through(folder, crops, *, progress):
    """Returns {crop: why it cannot be used} of (file name, box or None), everything decoded once.

    A file name that leads out of the folder, a missing file, one that is no picture or not all of
    one, a box beside the picture.
    """
    boxes = {}
    for name, box in crops:
        boxes.setdefault(name, set()).add(box)

    def reasons(name):
        try:
            width, height = _open(folder, name).size
        except BadImage as error:
            return {(name, box): str(error) for box in boxes[name]}
        return {
            (name, box): "the box lies outside the picture"
            for box in boxes[name]
            if box and not (box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0)
        }

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = tqdm(
            pool.map(reasons, boxes),
            total=len(boxes),
            desc="looking through the pictures",
            leave=False,
            delay=2,
            disable=not progress,
        )
        return {crop: reason for bad in found for crop, reason in bad.items()}


def batches(folder, crops, data_config, *, batch_size):
    """Yields batches of (file name, box or None), as `jaxvl.data.batches.eval_images` does.

    All of them must have passed `look_through`.
    """
    local = batch_size // jax.process_count()
    mine = slice(jax.process_index() * local, (jax.process_index() + 1) * local)
    rows = padded_rows(len(crops), batch_size)
    size = data_config.image_size

    def batch(step):
        index_g = rows[step][mine].astype(np.int32)
        mask_g = (step * batch_size + np.arange(batch_size) < len(crops))[mine]
        image_g = np.zeros((len(index_g), size, size, 3), np.uint8)
        for row in np.flatnonzero(mask_g):
            image_g[row] = _pixels(folder, crops[index_g[row]], data_config)
        return {"image": image_g, "index": index_g, "mask": mask_g}

    with Prefetch(
        batch,
        range(len(rows)),
        depth=data_config.prefetch_batches,
        threads=data_config.loader_threads,
    ) as ready:
        for _, images in ready:
            yield images


def _open(folder, name):
    return untrusted.upright(Location(untrusted.inside(str(folder), name), 0, -1))


def _pixels(folder, crop, data_config):
    """Returns uint8 [H, W, 3] of the picture, or of its box, as `image_ops.whole` makes it."""
    name, box = crop
    picture = _open(folder, name)
    if box:
        left, top, right, bottom = (round(side) for side in box)
        right, bottom = min(right, picture.width), min(bottom, picture.height)
        left, top = min(max(left, 0), right - 1), min(max(top, 0), bottom - 1)
        picture = picture.crop((left, top, right, bottom))
    return preprocessing.resized(picture, data_config.image_size, crop=data_config.eval_crop)
