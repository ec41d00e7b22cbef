"""The same augmentation with PIL and NumPy, as torch users write it, without torchvision.

benchmarks/data.py measures against it: a map-style data set for a torch DataLoader.
"""

import io
import math
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps


class Crops:
    """Encoded images -> uint8 arrays [size, size, 3], augmented as config.data says."""

    def __init__(self, encoded, data):
        self.encoded, self.data = encoded, data

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, index):
        data = self.data
        image = Image.open(io.BytesIO(self.encoded[index])).convert("RGB")
        size = (data.image_size, data.image_size)
        box = crop_box(*image.size, scale=data.crop_scale)
        image = image.crop(box).resize(size, Image.Resampling.BICUBIC)
        if random.random() < data.flip_probability:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for operation in random.choices(OPERATIONS, k=data.rand_augment_operations):
            if random.random() < data.rand_augment_probability:
                image = operation(image, data.rand_augment_magnitude / 10)
        if random.random() < data.color_jitter_probability:
            image = color_jitter(image, data.color_jitter)
        if random.random() < data.greyscale_probability:
            image = image.convert("L").convert("RGB")
        if random.random() < data.blur_probability:
            image = image.filter(ImageFilter.GaussianBlur(random.uniform(*data.blur_sigma)))
        return np.asarray(image)


def crop_box(width, height, *, scale):
    for _ in range(10):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def color_jitter(image, strengths):
    brightness, contrast, saturation, hue = strengths
    image = ImageEnhance.Brightness(image).enhance(random.uniform(1 - brightness, 1 + brightness))
    image = ImageEnhance.Contrast(image).enhance(random.uniform(1 - contrast, 1 + contrast))
    image = ImageEnhance.Color(image).enhance(random.uniform(1 - saturation, 1 + saturation))
    h, s, v = image.convert("HSV").split()
    turn = round(random.uniform(-hue, hue) * 255)
    h = Image.fromarray((np.asarray(h).astype(np.int16) + turn).astype(np.uint8))
    return Image.merge("HSV", (h, s, v)).convert("RGB")


def _affine(image, matrix):
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(128,) * 3
    )


def _sign():
    return random.choice((-1, 1))


OPERATIONS = [
    lambda image, level: image,
    lambda image, level: ImageOps.autocontrast(image),
    lambda image, level: ImageOps.equalize(image),
    lambda image, level: ImageEnhance.Brightness(image).enhance(0.1 + 1.8 * level),
    lambda image, level: ImageEnhance.Sharpness(image).enhance(0.1 + 1.8 * level),
    lambda image, level: _affine(image, (1, _sign() * 0.3 * level, 0, 0, 1, 0)),
    lambda image, level: _affine(image, (1, 0, 0, _sign() * 0.3 * level, 1, 0)),
    lambda image, level: _affine(image, (1, 0, _sign() * 10 * level, 0, 1, 0)),
    lambda image, level: _affine(image, (1, 0, 0, 0, 1, _sign() * 10 * level)),
    lambda image, level: image.rotate(
        _sign() * 30 * level, Image.Resampling.BILINEAR, fillcolor=(128,) * 3
    ),
]


def synthetic_jpegs(count, *, size):
    """Returns JPEGs of smooth shapes with some noise, about as many bytes as photographs."""
    rng = np.random.default_rng(0)
    jpegs = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=85)
        jpegs.append(buffer.getvalue())
    return jpegs
