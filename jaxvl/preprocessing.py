"""What is done to a picture before a model sees it, under a name that travels with the weights.

`bicubic-antialias-224-clip`: all of the picture resized to 224 x 224 pixels, bicubic and
antialiased as Pillow does, and normalised with the mean and deviation of CLIP's pictures. With
`224-center` its shorter side becomes 224 pixels, and what counts is the square in the middle.
"""

import json
import sys
from pathlib import Path

import numpy as np

FILE = "preprocessing.json"  # of an exported folder


def name_of(config):
    """Returns the name of a configuration's preprocessing in evaluation and serving."""
    crop = "" if config.data.eval_crop == "none" else f"-{config.data.eval_crop}"
    return f"bicubic-antialias-{config.data.image_size}{crop}-clip"


def numbers_of(config):
    """Returns everything that somebody needs who does it elsewhere, as JSON values."""
    from jaxvl.models.vit import PIXEL_MEAN, PIXEL_STD

    return {
        "name": name_of(config),
        "size": config.data.image_size,
        "crop": config.data.eval_crop,  # "center": shorter side to `size`, the middle of the rest
        "interpolation": "bicubic",
        "antialias": True,
        "resized_by": "Pillow >= 13 (older ones differ a little in tall pictures)",
        "transparent_on": [255, 255, 255],
        "scale": 1 / 255,
        "mean": list(PIXEL_MEAN),
        "std": list(PIXEL_STD),
    }


def resized(picture, size, *, crop):
    """Returns uint8 [size, size, 3] of an RGB picture (PIL), equal to `image_ops.whole`."""
    from PIL.Image import Resampling

    if crop == "none":
        return np.array(picture.resize((size, size), Resampling.BICUBIC))
    width, height = (size * side // min(picture.size) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    picture = picture.resize((width, height), Resampling.BICUBIC)
    return np.array(picture.crop((left, top, left + size, top + size)))


def of_weights(folder):
    """Returns the name that weights came with: a run's or an export's; None where neither is."""
    from jaxvl import workdir

    folder = Path(folder)
    if (folder / FILE).is_file():
        return json.loads((folder / FILE).read_text())["name"]
    if (folder / "checkpoints").is_dir() and (folder / "config.json").is_file():
        return name_of(workdir.load_config(folder))
    return None


def warn_of_another(weights, config):
    """Prints one line to stderr where weights are used with another preprocessing than theirs.

    weights: their folder. config: what they are used with.
    """
    theirs, used = of_weights(weights), name_of(config)
    if theirs not in (None, used):
        print(
            f"warning: {weights} learned from pictures prepared as {theirs}; "
            f"these are prepared as {used}",
            file=sys.stderr,
        )
