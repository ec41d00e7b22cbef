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
    low, high = tf.reduce_min(image, axis=[0, 1]), tf.reduce_max(image, axis=[0, 1])
    spread = high > low
    scale = tf.where(spread, 255.0 / tf.where(spread, high - low, 1.0), 1.0)
    return (image - tf.where(spread, low, 0.0)) * scale


def equalize(image):
    """Flatten each channel's histogram, as PIL.ImageOps.equalize does, rounding included."""
    level = tf.cast(tf.round(image), tf.int32) + tf.constant([0, 256, 512])
    histogram = tf.math.bincount(tf.reshape(level, [-1]), minlength=768, maxlength=768)
    histogram = tf.reshape(histogram, [3, 256])
    total = tf.reduce_sum(histogram[0])
    last_used = 255 - tf.argmax(tf.reverse(histogram, [1]) > 0, axis=1, output_type=tf.int32)
    last = tf.gather(histogram, last_used, batch_dims=1)
    step = (total - last) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = (step[:, None] // 2 + below) // tf.maximum(step, 1)[:, None]
    table = tf.where(step[:, None] > 0, tf.minimum(table, 255), tf.range(256)[None])
    return tf.gather(tf.cast(tf.reshape(table, [-1]), tf.float32), level)


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
    """Sample the image bilinearly at `transform` [8] (output to input), mean grey outside."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=image.shape[:2],
        fill_value=FILL,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]


def _matrix(which, level, size):
    """Return the transform [8] of shear x, y, translation x, y or rotation at a signed level."""
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
    return tf.concat([tf.gather(table, which), tf.zeros(2)], axis=0)
