"""RandAugment (Cubuk et al. 2020) with ALBEF's operations and strengths, in TF ops.

Images are float32 [H, W, 3] in 0..255 in and out; `u` is a tensor of uniform draws in [0, 1).
"""

import math

import numpy as np

from jaxvl.data.host_tf import tf

OPERATIONS = (
    "identity",
    "auto_contrast",
    "equalize",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
)
DRAWS = 3  # uniform draws of an operation: which one, whether, and the sign
TRANSLATE = 10 / 256  # of the side: 10 pixels of 256, as in ALBEF
FILL = 128.0


def rand_augment(
    image: tf.Tensor, u: tf.Tensor, *, operations: int, magnitude: float, probability: float
) -> tf.Tensor:
    """Returns the image after `operations` random ones of the ten, each with `probability`.

    magnitude: 0..10. u: [operations * DRAWS]. Source: ALBEF, dataset/randaugment.py.
    """
    which, apply, sign = tf.unstack(tf.reshape(u, [DRAWS, operations]), num=DRAWS)
    which = tf.cast(which * len(OPERATIONS), tf.int32)
    which = tf.where(apply < probability, which, OPERATIONS.index("identity"))
    sign = tf.sign(sign - 0.5)
    for number in range(operations):
        image = apply_operation(image, which[number], sign=sign[number], magnitude=magnitude)
    return image


def apply_operation(
    image: tf.Tensor, operation: tf.Tensor, *, sign: tf.Tensor, magnitude: float
) -> tf.Tensor:
    """Returns the image after the operation of that number in OPERATIONS.

    sign: -1 or 1, the direction of a geometric operation.
    """
    level = magnitude / 10
    factor = 0.1 + 1.8 * level
    size, _ = _sides(image)

    def transform():
        kind = operation - OPERATIONS.index("shear_x")
        chosen = tf.stack([kind, tf.cast(sign > 0, tf.int32)])
        return tf.gather_nd(tf.constant(_transforms(size, level)), chosen)

    branches = [
        lambda: image,
        lambda: auto_contrast(image),
        lambda: equalize(image),
        lambda: clip(image * factor),
        lambda: sharpness(image, factor),
        lambda: warp(image, transform()),
        lambda: translate(image, transform(), farthest=_pixels(size, level)),
    ]
    branch_of_operation = tf.constant([0, 1, 2, 3, 4, 5, 5, 6, 6, 5])
    return tf.switch_case(tf.gather(branch_of_operation, operation), branches)


def auto_contrast(image: tf.Tensor) -> tf.Tensor:
    """Returns the image with each channel stretched to 0..255; a constant channel stays.

    Source: PIL.ImageOps.autocontrast.
    """
    rows = _rows(image)
    low = tf.reduce_min(tf.reshape(tf.reduce_min(rows, axis=0), [-1, 3]), axis=0)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(rows, axis=0), [-1, 3]), axis=0)
    spread = high > low
    scale = tf.where(spread, 255.0 / tf.where(spread, high - low, 1.0), 1.0)
    _, width = _sides(image)
    low = tf.tile(tf.where(spread, low, 0.0), [width])
    return tf.reshape((rows - low) * tf.tile(scale, [width]), image.shape)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Returns the image with flat histograms of its channels.

    Source: PIL.ImageOps.equalize, equal to it in its rounding.
    """
    _, width = _sides(image)
    level = tf.cast(_rows(image) + 0.5, tf.int32) + tf.tile(tf.constant([0, 256, 512]), [width])
    histogram = tf.math.bincount(tf.reshape(level, [-1]), minlength=768, maxlength=768)
    histogram = tf.reshape(histogram, [3, 256])
    total = tf.reduce_sum(histogram[0])
    last_used = 255 - tf.argmax(tf.reverse(histogram, [1]) > 0, axis=1, output_type=tf.int32)
    last = tf.gather(histogram, last_used, batch_dims=1)
    step = (total - last) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = (step[:, None] // 2 + below) // tf.maximum(step, 1)[:, None]
    table = tf.where(step[:, None] > 0, tf.minimum(table, 255), tf.range(256)[None])
    image_rows = tf.gather(tf.cast(tf.reshape(table, [-1]), tf.float32), level)
    return tf.reshape(image_rows, image.shape)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Returns the image sharpened against a 3 x 3 smoothed copy; the border stays.

    Source: PIL.ImageEnhance.Sharpness.
    """
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    inner = image[1:-1, 1:-1]
    smooth = (box + 4.0 * inner) / 13.0
    sharp = clip(smooth + factor * (inner - smooth))
    change = tf.pad(sharp - inner, [[1, 1], [1, 1], [0, 0]])
    return image + change


def warp(image: tf.Tensor, transform: tf.Tensor) -> tf.Tensor:
    """Returns the image sampled at `transform` [6] (output to input), mean grey outside.

    It takes the nearest pixel, as torchvision's RandAugment does by default: TF's bilinear sampling
    costs more than the whole rest of the pipeline.
    """
    height, width = _sides(image)
    x = tf.range(width, dtype=tf.float32)[None]
    y = tf.range(height, dtype=tf.float32)[:, None]
    a, b, c, d, e, f = tf.unstack(transform, num=6)
    from_x = tf.cast(tf.floor(a * x + (b * y + (c + 0.5))), tf.int32)
    from_y = tf.cast(tf.floor(d * x + (e * y + (f + 0.5))), tf.int32)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    pixels = tf.concat([tf.reshape(image, [-1, 3]), tf.fill([1, 3], FILL)], axis=0)
    return tf.gather(pixels, tf.where(inside, from_y * width + from_x, height * width))


def translate(image: tf.Tensor, transform: tf.Tensor, *, farthest: int) -> tf.Tensor:
    """Returns what `warp` does, for moves by whole pixels, at a fraction of its cost.

    farthest: the largest move, in pixels.
    """
    height, width = _sides(image)
    padding = [[farthest, farthest], [farthest, farthest], [0, 0]]
    padded = tf.pad(image, padding, constant_values=FILL)
    left, top = tf.unstack(farthest + tf.cast(tf.gather(transform, [2, 5]), tf.int32), num=2)
    return tf.ensure_shape(padded[top : top + height, left : left + width], image.shape)


def clip(image: tf.Tensor) -> tf.Tensor:
    """Returns values clipped to 0..255, in one pass (tf.clip_by_value takes two)."""
    return tf.raw_ops.ClipByValue(t=image, clip_value_min=0.0, clip_value_max=255.0)


def _pixels(size: int, level: float) -> int:
    return int(TRANSLATE * size * level + 0.5)


def _transforms(size: int, level: float) -> np.ndarray:
    """Returns the transforms [5, 2, 6] of the geometric operations, for signs -1 and 1."""
    centre, pixels = (size - 1) / 2, _pixels(size, level)
    table = []
    for sign in (-1, 1):
        shear = 0.3 * level * sign
        cos, sin = math.cos(math.radians(30) * level), sign * math.sin(math.radians(30) * level)
        table.append(
            [
                [1, shear, 0, 0, 1, 0],
                [1, 0, 0, shear, 1, 0],
                [1, 0, sign * pixels, 0, 1, 0],
                [1, 0, 0, 0, 1, sign * pixels],
                [cos, -sin, centre * (1 - cos + sin), sin, cos, centre * (1 - cos - sin)],
            ]
        )
    return np.array(table, np.float32).transpose(1, 0, 2)


def _rows(image):
    """Returns [H, W * 3]: TF broadcasts along a last axis of 3 several times more slowly."""
    return tf.reshape(image, [_sides(image)[0], -1])


def _sides(image: tf.Tensor) -> tuple[int, int]:
    """Returns height and width, which are known when the graph is traced."""
    height, width, _ = image.shape
    assert height is not None and width is not None
    return height, width
