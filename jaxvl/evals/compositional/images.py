"""The images of a benchmark: all checked once, then read when they are needed, cropped to boxes.

Letters: S side of an image.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from jaxvl import preprocessing
from jaxvl.data.images import untrusted
from jaxvl.data.images.untrusted import BadImage, Location
from jaxvl.evals.compositional.annotations import Box

Crop = tuple[str, Box | None]  # file name, and the box that is cut out


def check(folder: Path | str, crops: Iterable[Crop], *, progress: bool) -> dict[Crop, str]:
    """Returns {crop: why it cannot be used}; every image is decoded once.

    The reasons are a file name that leads out of the folder, a missing file, one that is no image
    or a truncated one, and a box outside the image.
    """
    boxes: dict[str, set] = {}
    for name, box in crops:
        boxes.setdefault(name, set()).add(box)

    def reasons(name):
        try:
            width, height = _open(folder, name).size
        except BadImage as error:
            return {(name, box): str(error) for box in boxes[name]}
        return {
            (name, box): "the box lies outside the image"
            for box in boxes[name]
            if box and not (box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0)
        }

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = tqdm(
            pool.map(reasons, boxes),
            total=len(boxes),
            desc="checking the images",
            leave=False,
            delay=2,
            disable=not progress,
        )
        return {crop: reason for bad in found for crop, reason in bad.items()}


def pixels(folder: Path | str, crop: Crop, data: ConfigDict) -> np.ndarray:
    """Returns uint8 [S, S, 3] of a crop that passed `check`, prepared as in every evaluation.

    data: config.data.
    """
    name, box = crop
    image = _open(folder, name)
    if box:
        left, top, right, bottom = (round(side) for side in box)
        right, bottom = min(right, image.width), min(bottom, image.height)
        left, top = min(max(left, 0), right - 1), min(max(top, 0), bottom - 1)
        image = image.crop((left, top, right, bottom))
    return preprocessing.resized(image, data.image_size, crop=data.eval_crop)


def _open(folder: Path | str, name: str) -> Image.Image:
    return untrusted.upright(Location(untrusted.inside(str(folder), name), 0, -1))
