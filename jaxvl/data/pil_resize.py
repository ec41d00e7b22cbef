"""Pillow's bicubic resize in TF ops, to the last bit: what a model is served with is what it was
evaluated with.

Pillow sums bytes times integer weights, rounds and clips after each axis, and takes tall pictures
along their height first (since version 13).
"""

from jaxvl.data.host_tf import tf

_BITS = 22  # of a weight, behind the point
_SUPPORT = 2  # pixels that a cubic reaches to either side


def resize(image, size):
    """Resize all of uint8 [H, W, 3] to uint8 [size, size, 3], antialiased."""
    height, width = tf.unstack(tf.shape(image)[:2])
    tall = tf.logical_and(height > size, height + size > 2 * width)
    turned = tf.cond(tall, lambda: image, lambda: tf.transpose(image, [1, 0, 2]))
    half = tf.transpose(_resize_rows(turned, size), [1, 0, 2])
    done = _resize_rows(half, size)  # [second axis, first axis, 3]
    done = tf.cond(tall, lambda: tf.transpose(done, [1, 0, 2]), lambda: done)
    return tf.ensure_shape(done, [size, size, 3])


def _resize_rows(image, size):
    """Resize uint8 [N, M, 3] to uint8 [size, M, 3]."""
    rows = tf.reshape(image, [tf.shape(image)[0], -1])
    at_SxK, weights_SxK = _taps(tf.shape(rows)[0], size)

    def add(tap, total):  # one tap at a time: large pictures would not fit otherwise
        picked = tf.cast(tf.gather(rows, at_SxK[:, tap]), tf.int32)
        return tap + 1, total + weights_SxK[:, tap, None] * picked

    half = tf.fill([size, tf.shape(rows)[1]], 1 << (_BITS - 1))
    taps = tf.shape(at_SxK)[1]
    _, total = tf.while_loop(lambda tap, _: tap < taps, add, [0, half], parallel_iterations=1)
    bytes_ = tf.clip_by_value(tf.bitwise.right_shift(total, _BITS), 0, 255)
    return tf.reshape(tf.cast(bytes_, tf.uint8), [size, -1, 3])


def _taps(count, size):
    """Rows that make each of `size` rows out of `count`, and their weights: int32 [S, K] both."""
    count = tf.cast(count, tf.float64)
    scale = count / size
    stretch = tf.maximum(scale, 1.0)
    centre_Sx1 = ((tf.range(size, dtype=tf.float64) + 0.5) * scale)[:, None]
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
