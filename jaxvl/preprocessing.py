"""The preprocessing of an image for a model, under a name that travels with the weights.

`bicubic-antialias-224-clip`: the whole image is resized to 224 x 224 pixels, bicubic and
antialiased as Pillow does it, and normalised with the mean and standard deviation of CLIP's images.
With `224-center` its shorter side is resized to 224 pixels, and the square in the middle is used.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxvl import paths

FILE = "preprocessing.json"  # of an exported folder

# Of the RGB values in 0..1 of CLIP's training images; ALBEF uses them too.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def name_of(config: ConfigDict) -> str:
    """Returns the name of a configuration's preprocessing in evaluation and serving."""
    crop = "" if config.data.eval_crop == "none" else f"-{config.data.eval_crop}"
    return f"bicubic-antialias-{config.data.image_size}{crop}-clip"


def numbers_of(config: ConfigDict) -> dict[str, Any]:
    """Returns everything that is needed to do the same elsewhere, as JSON values."""
    return {
        "name": name_of(config),
        "size": config.data.image_size,
        "crop": config.data.eval_crop,  # "center": shorter side to `size`, then the middle square
        "interpolation": "bicubic",
        "antialias": True,
        "resized_by": "Pillow >= 13 (older versions differ slightly for tall images)",
        "transparent_on": [255, 255, 255],
        "scale": 1 / 255,
        "mean": list(PIXEL_MEAN),
        "std": list(PIXEL_STD),
    }


def resized(image: Image.Image, size: int, *, crop: str) -> np.ndarray:
    """Returns uint8 [size, size, 3] of an RGB image.

    crop: "none" resizes the whole image. "center" resizes it until its shorter side is `size` and
    takes the square in the middle, as CLIP does (Radford et al. 2021); where the margins differ by
    one pixel, the first is the smaller one, as in transformers.
    """
    bicubic = Image.Resampling.BICUBIC
    if crop == "none":
        return np.array(image.resize((size, size), bicubic))
    width, height = (size * side // min(image.size) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), bicubic)
    return np.array(image.crop((left, top, left + size, top + size)))


def of_weights(folder: Path | str) -> str | None:
    """Returns the name that weights came with; None where the folder does not say.

    folder: a run's working directory, or an exported folder.
    """
    folder = paths.of(folder)
    if (folder / FILE).is_file():
        return json.loads((folder / FILE).read_text())["name"]
    if (folder / "checkpoints").is_dir() and (folder / "config.json").is_file():
        return name_of(ConfigDict(json.loads((folder / "config.json").read_text())))
    return None


def warn_of_another(weights: Path | str, config: ConfigDict) -> None:
    """Prints one line to stderr where weights are used with another preprocessing than theirs.

    weights: their folder. config: of the run that uses them.
    """
    theirs, used = of_weights(weights), name_of(config)
    if theirs not in (None, used):
        print(
            f"warning: {weights} was trained on images prepared as {theirs}; "
            f"these images are prepared as {used}",
            file=sys.stderr,
        )
