"""Pillow's bicubic resize in TF ops, to the last bit: what a model is served with is what it was
evaluated with.

Pillow sums bytes times integer weights, rounds and clips after each axis, and takes pictures that
shrink more in height than in width along their height first (since version 13).
"""

from jaxvl.data.host_tf import tf

_BITS = 22  # of a weight, behind the point
_SUPPORT = 2  # pixels that a cubic reaches to either side


def resize(image, size, *, crop="none"):
    """Resize uint8 [H, W, 3] to uint8 [size, size, 3], antialiased.

    crop: "none" takes all of it. "center" resizes until the shorter side is `size` and takes the
    square in the middle, as CLIP does (Radford et al. 2021); half a pixel goes as in transformers.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    shorter = tf.minimum(height, width)
    new_height, new_width = (
        (size * side // shorter if crop == "center" else tf.constant(size))
        for side in (height, width)
    )
    tall = tf.logical_and(height > new_height, height - new_height > 2 * (width - new_width))
    turned = tf.cond(tall, lambda: image, lambda: tf.transpose(image, [1, 0, 2]))
    first, second = tf.cond(tall, lambda: (new_height, new_width), lambda: (new_width, new_height))
    half = tf.transpose(_resize_rows(turned, first, size), [1, 0, 2])
    done = _resize_rows(half, second, size)  # [second axis, first axis, 3]
    done = tf.cond(tall, lambda: tf.transpose(done, [1, 0, 2]), lambda: done)
    return tf.ensure_shape(done, [size, size, 3])


def _resize_rows(image, length, size):
    """Resize uint8 [N, M, 3] to [length, M, 3], of which only the `size` in the middle are made."""
    rows = tf.reshape(image, [tf.shape(image)[0], -1])
    at_SxK, weights_SxK = _taps(tf.shape(rows)[0], length, size)

    def add(tap, total):  # one tap at a time: large pictures would not fit otherwise
        picked = tf.cast(tf.gather(rows, at_SxK[:, tap]), tf.int32)
        return tap + 1, total + weights_SxK[:, tap, None] * picked

    half = tf.fill([size, tf.shape(rows)[1]], 1 << (_BITS - 1))
    taps = tf.shape(at_SxK)[1]
    _, total = tf.while_loop(lambda tap, _: tap < taps, add, [0, half], parallel_iterations=1)
    bytes_ = tf.clip_by_value(tf.bitwise.right_shift(total, _BITS), 0, 255)
    return tf.reshape(tf.cast(bytes_, tf.uint8), [size, -1, 3])


def _taps(count, length, size):
    """Rows out of `count` that make the `size` in the middle of `length` rows, and their weights:
    int32 [S, K] both.
    """
    number_S = tf.cast((length - size) // 2 + tf.range(size), tf.float64)
    count, length = tf.cast(count, tf.float64), tf.cast(length, tf.float64)
    scale = count / length
    stretch = tf.maximum(scale, 1.0)
    centre_Sx1 = ((number_S + 0.5) * scale)[:, None]
    reach = _SUPPORT * stretch
    first = tf.maximum(tf.floor(centre_Sx1 - reach + 0.5), 0)
    last = tf.minimum(tf.floor(centre_Sx1 + reach + 0.5), count)
    at_SxK = first + tf.range(2 * tf.math.ceil(reach) + 1)[None]
    weights_SxK = tf.where(at_SxK < last, _cubic((at_SxK - centre_Sx1 + 0.5) / stretch), 0)
    weights_SxK /= tf.reduce_sum(weights_SxK, axis=1, keepdims=True)
    whole_SxK = tf.sign(weights_SxK) * tf.floor(tf.abs(weights_SxK) * (1 << _BITS) + 0.5)
    return tf.cast(tf.minimum(at_SxK, count - 1), tf.int32), tf.cast(whole_SxK, tf.int32)


def _cubic(x):
    """Keys' cubic of a = -0.5 (Keys 1981)."""
    x = tf.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, -0.5 * (((x - 5) * x + 8) * x - 4)
    return tf.where(x < 1, near, tf.where(x < 2, far, 0))
