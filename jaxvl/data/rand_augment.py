"""RandAugment (Cubuk et al. 2020) with ALBEF's operations and strengths, in TF ops.

Images are float32 [H, W, 3] in 0..255 in and out; `u` is a tensor of uniform draws in [0, 1).
"""

import math

from jaxvl.data.host_tf import tf

OPERATIONS = (
    "identity", "auto_contrast", "equalize", "brightness", "sharpness",
    "shear_x", "shear_y", "translate_x", "translate_y", "rotate",
)  # fmt: skip
DRAWS = 3  # uniform draws an operation takes: which one, whether, and the sign
TRANSLATE = 10 / 256  # of the side: ALBEF's 10 pixels at its 256
FILL = 128.0


def rand_augment(image, u, *, operations, magnitude, probability):
    """Apply `operations` of the ten, one after another, each with `probability`.

    magnitude: 0..10. u: [operations * DRAWS]. Source: ALBEF's dataset/randaugment.py.
    """
    for number in range(operations):
        which, apply, sign = tf.unstack(u[number * DRAWS : (number + 1) * DRAWS], num=DRAWS)
        operation = tf.cast(which * len(OPERATIONS), tf.int32)
        operation = tf.where(apply < probability, operation, OPERATIONS.index("identity"))
        image = apply_operation(image, operation, sign=tf.sign(sign - 0.5), magnitude=magnitude)
    return image


def apply_operation(image, operation, *, sign, magnitude):
    """Apply the operation of that number in OPERATIONS; `sign` (-1 or 1) is for the geometric."""
    level = magnitude / 10
    factor = 0.1 + 1.8 * level
    first_warp = OPERATIONS.index("shear_x")
    return tf.switch_case(
        tf.minimum(operation, first_warp),
        [
            lambda: image,
            lambda: auto_contrast(image),
            lambda: equalize(image),
            lambda: tf.clip_by_value(image * factor, 0.0, 255.0),
            lambda: sharpness(image, factor),
            lambda: warp(image, _matrix(operation - first_warp, sign * level, image.shape[0])),
        ],
    )


def auto_contrast(image):
    """Stretch each channel to the full range; a flat channel stays (PIL.ImageOps)."""
    rows = _rows(image)
    low = tf.reduce_min(tf.reshape(tf.reduce_min(rows, axis=0), [-1, 3]), axis=0)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(rows, axis=0), [-1, 3]), axis=0)
    spread = high > low
    scale = tf.where(spread, 255.0 / tf.where(spread, high - low, 1.0), 1.0)
    width = image.shape[1]
    low = tf.tile(tf.where(spread, low, 0.0), [width])
    return tf.reshape((rows - low) * tf.tile(scale, [width]), image.shape)


def equalize(image):
    """Flatten each channel's histogram, as PIL.ImageOps.equalize does, rounding included."""
    level = tf.cast(_rows(image) + 0.5, tf.int32) + tf.tile([0, 256, 512], [image.shape[1]])
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


def sharpness(image, factor):
    """Blend with a 3x3 smoothed copy, the border left alone (PIL.ImageEnhance.Sharpness)."""
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    inner = image[1:-1, 1:-1]
    smooth = (box + 4.0 * inner) / 13.0
    sharp = tf.clip_by_value(smooth + factor * (inner - smooth), 0.0, 255.0)
    change = tf.pad(sharp - inner, [[1, 1], [1, 1], [0, 0]])
    return image + change


def warp(image, transform):
    """Sample the image at `transform` [6] (output to input), mean grey outside.

    The nearest pixel, as torchvision's RandAugment does by default: TF's bilinear sampling costs
    more than the whole rest of the pipeline.
    """
    height, width, _ = image.shape
    x = tf.range(width, dtype=tf.float32)[None]
    y = tf.range(height, dtype=tf.float32)[:, None]
    from_x = tf.cast(tf.floor(transform[0] * x + (transform[1] * y + transform[2] + 0.5)), tf.int32)
    from_y = tf.cast(tf.floor(transform[3] * x + (transform[4] * y + transform[5] + 0.5)), tf.int32)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    pixels = tf.concat([tf.reshape(image, [-1, 3]), tf.fill([1, 3], FILL)], axis=0)
    return tf.gather(pixels, tf.where(inside, from_y * width + from_x, height * width))


def _matrix(which, level, size):
    """Return the transform [6] of shear x, y, translation x, y or rotation at a signed level."""
    centre = (size - 1) / 2
    shear = 0.3 * level
    shift = TRANSLATE * size * level
    cos, sin = tf.cos(math.radians(30) * level), tf.sin(math.radians(30) * level)
    turn_x, turn_y = centre * (1 - cos + sin), centre * (1 - cos - sin)
    rows = [
        [1, shear, 0, 0, 1, 0],
        [1, 0, 0, shear, 1, 0],
        [1, 0, shift, 0, 1, 0],
        [1, 0, 0, 0, 1, shift],
        [cos, -sin, turn_x, sin, cos, turn_y],
    ]
    table = tf.stack([tf.stack([tf.cast(x, tf.float32) for x in row]) for row in rows])
    return tf.gather(table, which)


def _rows(image):
    """[H, W * 3]: TF broadcasts along a last axis of 3 several times slower than along this."""
    return tf.reshape(image, [image.shape[0], -1])
