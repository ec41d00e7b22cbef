"""From an encoded image to pixels for training, in TF ops: crop, flip, resize, distort.

Every random number comes in as `u`, uniform draws in [0, 1). The caller makes them from (seed,
epoch, example), so an example gets the same pixels in whatever batch it is. Images between the
steps are float32 [H, W, 3] in 0..255. A step whose probability is 0 adds no ops to the graph.
"""

import math
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.host_tf import tf
from jaxvl.data.images.rand_augment import DRAWS as RAND_AUGMENT_DRAWS
from jaxvl.data.images.rand_augment import clip, rand_augment

CROP_TRIES = 10
ASPECT = (3 / 4, 4 / 3)
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as PIL converts to "L"


def _draws(data: ConfigDict) -> list[int]:
    """Returns how many draws crop, flip, RandAugment, colour, greyscale and blur take."""
    return [2 * CROP_TRIES + 2, 1, RAND_AUGMENT_DRAWS * data.rand_augment_operations, 5, 1, 2]


def num_draws(data: ConfigDict) -> int:
    """Returns how many uniform draws `augment` takes. data: config.data."""
    return sum(_draws(data))


def augment(encoded: tf.Tensor, u: tf.Tensor, data: ConfigDict) -> tf.Tensor:
    """Returns one image decoded, cropped and distorted: uint8 [image_size, image_size, 3].

    encoded: scalar string (JPEG, PNG, BMP, GIF). u: float32 [num_draws(data)]. data: config.data.
    """
    u_crop, u_flip, u_operations, u_jitter, u_grey, u_blur = tf.split(u, _draws(data))
    image = decode_and_crop(encoded, u_crop, scale=data.crop_scale)
    if data.flip_probability > 0:  # off where captions say "left" and "right"
        crop = image
        image = tf.cond(
            u_flip[0] < data.flip_probability, lambda: tf.reverse(crop, [1]), lambda: crop
        )
    image = resize(image, data.image_size)
    if data.rand_augment_operations > 0 and data.rand_augment_probability > 0:
        image = rand_augment(
            image,
            u_operations,
            operations=data.rand_augment_operations,
            magnitude=data.rand_augment_magnitude,
            probability=data.rand_augment_probability,
        )
    if data.color_jitter_probability > 0 or data.greyscale_probability > 0:
        image = recolor(
            image,
            u_jitter,
            u_grey[0],
            strengths=data.color_jitter,
            jitter_probability=data.color_jitter_probability,
            greyscale_probability=data.greyscale_probability,
        )
    if data.blur_probability > 0:
        low, high = data.blur_sigma
        sigma = low + (high - low) * u_blur[1]
        image = tf.cond(
            u_blur[0] < data.blur_probability, lambda: blur(image, sigma), lambda: image
        )
    return to_uint8(image)


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Returns a decoded image, uint8 [H, W, 3], of greyscale and palette images too."""
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def decode_and_crop(encoded: tf.Tensor, u: tf.Tensor, *, scale: Sequence[float]) -> tf.Tensor:
    """Returns a random window of an encoded image, uint8 [h, w, 3].

    Of a JPEG, only that window is decoded. u, scale: as in `crop_window`.
    """

    def jpeg():
        height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(encoded), num=3)
        window = crop_window(height, width, u, scale=scale)
        return tf.io.decode_and_crop_jpeg(encoded, window, channels=3)

    def other():
        image = decode(encoded)
        height, width, _ = tf.unstack(tf.shape(image), num=3)
        top, left, height, width = tf.unstack(crop_window(height, width, u, scale=scale), num=4)
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    image.set_shape([None, None, 3])
    return image


def crop_window(
    height: tf.Tensor, width: tf.Tensor, u: tf.Tensor, *, scale: Sequence[float]
) -> tf.Tensor:
    """Returns (top, left, height, width) of RandomResizedCrop's window: int32 [4], never empty.

    The window's share of the area is uniform in `scale`, its aspect ratio log-uniform in 3/4..4/3.
    It is the first of ten tries that fits, as in torchvision, or else the first one, shrunk until
    it fits. u: float32 [2 * CROP_TRIES + 2].
    """
    size = tf.cast(tf.stack([height, width]), tf.float32)
    area = size[0] * size[1] * (scale[0] + (scale[1] - scale[0]) * u[:CROP_TRIES])
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    root = tf.exp((low + (high - low) * u[CROP_TRIES : 2 * CROP_TRIES]) / 2)
    tries = tf.round(tf.sqrt(area)[:, None] * tf.stack([1 / root, root], axis=1))
    fits = tf.reduce_all(tries <= size, axis=1)  # argmax of no fit at all is the first try
    chosen = tries[tf.argmax(tf.cast(fits, tf.int32))]
    chosen = tf.maximum(tf.floor(chosen * tf.minimum(1.0, tf.reduce_min(size / chosen))), 1.0)
    corner = tf.floor(u[2 * CROP_TRIES :] * (size - chosen + 1))
    return tf.cast(tf.concat([tf.minimum(corner, size - chosen), chosen], axis=0), tf.int32)


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Returns uint8 [H, W, 3] as float32 [size, size, 3] in 0..255, bicubic and antialiased.

    Equal to Pillow's within rounding.
    """
    shape = tf.shape(image)[:2]

    def enlarge():  # nothing to antialias: the same result at half the cost
        return tf.raw_ops.ResizeBicubic(
            images=image[None], size=[size, size], half_pixel_centers=True
        )[0]

    def shrink():  # one axis at a time, as rows: TF's kernel is slow along columns
        columns = tf.reshape(tf.transpose(image, [1, 0, 2]), [shape[1], -1])
        columns = tf.reshape(_resize_rows(columns, size), [size, -1, 3])
        rows = tf.reshape(tf.transpose(columns, [1, 0, 2]), [shape[0], 3 * size])
        return tf.reshape(_resize_rows(rows, size), [size, size, 3])

    image = tf.cond(tf.reduce_all(shape <= size), enlarge, shrink)
    return clip(tf.ensure_shape(image, [size, size, 3]))


def _resize_rows(rows, size):
    """Returns [N, M] resized along its first axis: float32 [size, M]."""
    count = tf.cast(tf.shape(rows)[0], tf.float32)
    return tf.raw_ops.ScaleAndTranslate(
        images=rows[None, :, None],
        size=[size, 1],
        scale=tf.stack([size / count, 1.0]),
        translation=[0.0, 0.0],
        kernel_type="keyscubic",
        antialias=True,
    )[0, :, 0]


def recolor(
    image: tf.Tensor,
    u_jitter: tf.Tensor,
    u_grey: tf.Tensor,
    *,
    strengths: Sequence[float],
    jitter_probability: float,
    greyscale_probability: float,
) -> tf.Tensor:
    """Returns the image with other brightness, contrast, saturation and hue, perhaps in grey.

    u_jitter: [5], whether to change them, and the four amounts. strengths: (b, c, s, hue); factors
    are drawn from 1 - b .. 1 + b and so on, the hue is turned by -hue .. hue of a full circle. All
    of it is one linear map of RGB (the hue turns in YIQ), so values are clipped once, at the end.
    """
    jitter = tf.cast(u_jitter[0] < jitter_probability, tf.float32)
    amounts = jitter * (2 * u_jitter[1:] - 1) * tf.constant(strengths, tf.float32)
    brightness, contrast, saturation = tf.unstack(tf.maximum(1 + amounts[:3], 0.0), num=3)
    saturation = tf.where(u_grey < greyscale_probability, 0.0, saturation)
    cos, sin = tf.cos(2 * math.pi * amounts[3]), tf.sin(2 * math.pi * amounts[3])
    # RGB = grey + colour difference; contrast pulls to the mean grey, saturation scales the
    # difference, hue turns it.
    to_grey = tf.constant([GREY] * 3)
    turn = cos * (tf.eye(3) - to_grey) + sin * tf.constant(_quarter_turn())
    matrix = brightness * contrast * (to_grey + saturation * turn)
    mean_grey = tf.tensordot(tf.reduce_mean(image, axis=[0, 1]), tf.constant(GREY), 1)
    offset = (1 - contrast) * brightness * mean_grey
    flat = tf.matmul(tf.reshape(image, [-1, 3]), matrix, transpose_b=True) + offset
    return clip(tf.reshape(flat, image.shape))


def _quarter_turn():
    """Returns the matrix that removes the grey of an RGB colour and turns the rest by 90 degrees.

    It turns in YIQ.
    """
    to_yiq = np.array([GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    quarter = np.array([(0, 0, 0), (0, 0, -1), (0, 1, 0)])
    return (np.linalg.inv(to_yiq) @ quarter @ to_yiq).astype(np.float32)


def blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Returns the image under a Gaussian blur; sigma in pixels.

    At the border the weights of the pixels inside are normalised.
    """
    size = image.shape[0]
    position = tf.range(size, dtype=tf.float32)
    distance = (position[:, None] - position[None]) / sigma
    weights = tf.nn.softmax(-0.5 * distance**2)
    rows = tf.matmul(weights, tf.reshape(image, [size, -1]))
    return tf.einsum("xw,ywc->yxc", weights, tf.reshape(rows, image.shape))


def to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Returns float32 values in 0..255 rounded to uint8."""
    return tf.cast(image + 0.5, tf.uint8)
