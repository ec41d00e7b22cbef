"""The fixed images and texts on which an export is compared with JAX."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CAPTIONS = (
    "A red circle above a blue square.",
    "two dogs don't run through the deep, white snow",
    "Naïve café / 3-4 signs: the man's [MASK]!? 赤いマグカップ、",
    "",
    " ".join(["the cat that chased the rat"] * 12),
)
SIZES = ((200, 150), (90, 240), (30, 20), (64, 64), (333, 111))  # width, height


def images() -> list[Image.Image]:
    """Returns RGB images of SIZES: landscape, portrait, small, square; soft and hard edges."""
    made = []
    for number, (width, height) in enumerate(SIZES):
        rng = np.random.default_rng(number)
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1 + number % 3))
        draw = ImageDraw.Draw(image)
        ellipse = (width // 8, height // 8, width // 2, height // 2)
        draw.ellipse(ellipse, fill=(220, 20 * number, 30))
        rectangle = (width // 2, height // 2, width - 3, height - 2)
        draw.rectangle(rectangle, fill=(10, 60, 255 - 40 * number))
        made.append(image)
    return made
