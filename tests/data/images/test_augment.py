"""Image operations against PIL, and what must hold for any image."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jaxvl.data.host_tf import tf
from jaxvl.data.images import augment
from jaxvl.data.images import rand_augment as ra

PLAIN = dict(
    image_size=24,
    crop_scale=(0.2, 1.0),
    flip_probability=0.0,
    rand_augment_operations=0,
    rand_augment_magnitude=7,
    rand_augment_probability=0.0,
    color_jitter=(0.4, 0.4, 0.4, 0.1),
    color_jitter_probability=0.0,
    greyscale_probability=0.0,
    blur_sigma=(0.1, 2.0),
    blur_probability=0.0,
)


def data_keys(**keys):
    return SimpleNamespace(**{**PLAIN, **keys})


def image_of(height=40, width=40, seed=0):
    """A smooth uint8 image that does not use the whole range."""
    coarse = np.random.default_rng(seed).integers(30, 200, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(pixels, kind="PNG", mode="RGB"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def floats(pixels):
    return tf.constant(pixels, tf.float32)


def draws(data, seed=0):
    return tf.constant(np.random.default_rng(seed).random(augment.num_draws(data)), tf.float32)


def apply(name, pixels, *, sign=1.0, magnitude=7):
    operation = tf.constant(ra.OPERATIONS.index(name))
    image = floats(pixels)
    return ra.apply_operation(image, operation, sign=tf.constant(sign), magnitude=magnitude).numpy()


def differ(a, b):
    return np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).max()


@pytest.mark.parametrize(
    ("name", "pil", "tolerance"),
    [
        ("identity", lambda image: image, 0),
        ("auto_contrast", ImageOps.autocontrast, 1),
        ("equalize", ImageOps.equalize, 0),
        ("brightness", lambda image: ImageEnhance.Brightness(image).enhance(1.36), 1),
        ("sharpness", lambda image: ImageEnhance.Sharpness(image).enhance(1.36), 1.5),
    ],
)
def test_operations_are_pil_s_but_for_rounding(name, pil, tolerance):
    pixels = image_of()
    assert differ(apply(name, pixels), pil(Image.fromarray(pixels))) <= tolerance


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("shear_x", (1, 0.21, -0.105, 0, 1, 0)),  # PIL counts from pixel corners, not centres
        ("shear_y", (1, 0, 0, 0.21, 1, -0.105)),
        ("translate_x", (1, 0, 7 * 40 / 256, 0, 1, 0)),
        ("translate_y", (1, 0, 0, 0, 1, 7 * 40 / 256)),
    ],
)
def test_geometric_operations_move_pixels_as_pil_does(name, matrix):
    pixels = image_of()
    moved = Image.fromarray(pixels).transform(
        (40, 40), Image.Transform.AFFINE, matrix, fillcolor=(128, 128, 128)
    )
    assert np.mean(apply(name, pixels) == np.asarray(moved)) > 0.99
    assert not (apply(name, pixels, sign=-1.0) == apply(name, pixels)).all()


def test_rotation_turns_about_the_centre():
    pixels = image_of()
    turned = Image.fromarray(pixels).rotate(21, fillcolor=(128,) * 3)
    close = np.abs(apply("rotate", pixels) - np.asarray(turned)).max(axis=2) < 1
    assert close.mean() > 0.98


@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y", "rotate"])
def test_geometric_operations_of_magnitude_zero_change_nothing(name):
    assert (apply(name, image_of(), magnitude=0) == image_of()).all()


def test_operations_leave_a_flat_image_flat_and_in_range():
    flat = np.full((8, 8, 3), 77, np.uint8)
    for name in ("auto_contrast", "equalize", "sharpness"):
        assert (apply(name, flat) == flat).all()
    assert apply("brightness", np.full((8, 8, 3), 250, np.uint8)).max() == 255


def test_rand_augment_draws_every_operation_and_respects_its_probability():
    pixels, signs = floats(image_of()), (-1.0, 1.0)
    made = {
        (name, sign): apply(name, image_of(), sign=sign) for name in ra.OPERATIONS for sign in signs
    }
    augment = tf.function(
        lambda u: ra.rand_augment(pixels, u, operations=1, magnitude=7, probability=0.5)
    )
    drawn = set()
    for u in np.random.default_rng(0).random((120, ra.DRAWS)).astype(np.float32):
        name = ra.OPERATIONS[int(10 * u[0])] if u[1] < 0.5 else "identity"
        found = augment(tf.constant(u)).numpy()
        assert np.mean(np.abs(found - made[name, signs[int(u[2] > 0.5)]]) < 0.01) > 0.99
        drawn.add(name)
    assert drawn == set(ra.OPERATIONS)


@pytest.mark.parametrize(("height", "width"), [(160, 160), (100, 300), (7, 5)])
def test_the_crop_is_the_first_of_ten_tries_that_fits(height, width):
    for seed in range(30):
        u = np.random.default_rng(seed).random(22).astype(np.float32)
        area = height * width * (0.2 + 0.8 * u[:10])
        aspect = np.exp(np.log(3 / 4) + np.log(16 / 9) * u[10:20])
        tries = np.round([np.sqrt(area / aspect), np.sqrt(area * aspect)]).astype(int).T
        fitting = [size for size in tries.tolist() if size[0] <= height and size[1] <= width]
        window = augment.crop_window(height, width, tf.constant(u), scale=(0.2, 1.0))
        top, left, h, w = window.numpy().tolist()
        if fitting:
            assert [h, w] == fitting[0]
        else:
            assert h == height or w == width
        assert [top, left] == [int(u[20] * (height - h + 1)), int(u[21] * (width - w + 1))]
        assert top + h <= height and left + w <= width


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 500), (500, 3), (2, 1)])
def test_the_smallest_and_the_thinnest_images_give_a_crop(height, width):
    data = data_keys()
    encoded = encode(np.full((height, width, 3), 90, np.uint8))
    for seed in range(10):
        assert differ(augment.augment(tf.constant(encoded), draws(data, seed), data), 90) <= 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_every_format_decodes_to_the_same_crop(kind):
    data = data_keys()
    encoded = encode(image_of(), kind)
    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    image = augment.augment(tf.constant(encoded), draws(data), data)
    expected = augment.augment(tf.constant(encode(pixels)), draws(data), data)
    assert image.dtype == tf.uint8 and image.shape == (24, 24, 3)
    assert differ(image, expected) <= (4 if kind == "JPEG" else 0)


def test_flips_flip():
    plain, mirrored = (
        data_keys(crop_scale=(1, 1)),
        data_keys(crop_scale=(1, 1), flip_probability=1.0),
    )
    encoded = tf.constant(encode(image_of()))
    image = augment.augment(encoded, draws(plain), plain).numpy()
    assert differ(augment.augment(encoded, draws(plain), mirrored), image[:, ::-1]) <= 1


def recolored(u_jitter, *, u_grey=1.0, strengths=(0.4, 0.4, 0.4, 0.1)):
    return augment.recolor(
        floats(image_of()),
        tf.constant(u_jitter, tf.float32),
        tf.constant(u_grey),
        strengths=strengths,
        jitter_probability=0.8,
        greyscale_probability=0.2,
    ).numpy()


def test_colour_that_is_not_jittered_stays():
    assert differ(recolored([0.9, 0, 0, 0, 0]), image_of()) < 0.01
    assert differ(recolored([0.1, 0.5, 0.5, 0.5, 0.5]), image_of()) < 0.01
    assert differ(recolored([0.1, 0, 0, 0, 0], strengths=(0, 0, 0, 0)), image_of()) < 0.01


@pytest.mark.parametrize(
    ("position", "enhance"),
    [(1, ImageEnhance.Brightness), (2, ImageEnhance.Contrast), (3, ImageEnhance.Color)],
)
@pytest.mark.parametrize(("u", "factor"), [(0.0, 0.6), (0.9, 1.32)])
def test_jitter_is_pil_s_enhancement(position, enhance, u, factor):
    amounts = [0.1, 0.5, 0.5, 0.5, 0.5]
    amounts[position] = u
    assert differ(recolored(amounts), enhance(Image.fromarray(image_of())).enhance(factor)) <= 1.5


def test_jitters_follow_one_another():
    darker = ImageEnhance.Brightness(Image.fromarray(image_of())).enhance(0.76)
    expected = ImageEnhance.Color(ImageEnhance.Contrast(darker).enhance(0.76)).enhance(0.8)
    assert differ(recolored([0.1, 0.2, 0.2, 0.25, 0.5]), expected) <= 3  # PIL rounds three times


def test_hue_turns_keep_brightness_and_a_half_turn_gives_the_opposite_colour():
    turned = recolored([0.1, 0.5, 0.5, 0.5, 1.0])
    assert differ(turned @ augment.GREY, image_of() @ np.array(augment.GREY)) < 0.5
    assert differ(turned, image_of()) > 5
    opposite = recolored([0.1, 0.5, 0.5, 0.5, 1.0], strengths=(0, 0, 0, 0.5))
    grey = (image_of() @ np.array(augment.GREY))[..., None]
    assert differ(opposite, np.clip(2 * grey - image_of(), 0, 255)) < 0.5


def test_grey_is_grey():
    grey = recolored([0.1, 0.9, 0.1, 0.9, 0.9], u_grey=0.1)
    assert differ(grey, grey[..., :1]) < 0.01
    plain = Image.fromarray(image_of()).convert("L")
    assert differ(recolored([0.9, 0, 0, 0, 0], u_grey=0.1)[..., 0], plain) <= 1


def test_blur_is_gaussian():
    blurred = augment.blur(floats(image_of()), tf.constant(1.5)).numpy()
    expected = Image.fromarray(image_of()).filter(ImageFilter.GaussianBlur(1.5))
    assert differ(blurred[6:-6, 6:-6], np.asarray(expected)[6:-6, 6:-6]) <= 2
    assert differ(augment.blur(floats(image_of()), tf.constant(0.1)), image_of()) < 0.01


def test_what_is_switched_off_adds_nothing_to_the_graph():
    def names(data):
        signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.float32)]
        graph = tf.function(lambda x, u: augment.augment(x, u, data), input_signature=signature)
        operations = graph.get_concrete_function().graph.get_operations()
        return [operation.type for operation in operations]

    bare = names(data_keys())
    assert bare.count("StatelessIf") + bare.count("If") == 2  # which decoder, which way to resize
    assert not {"StatelessCase", "Case", "MatMul", "ReverseV2"} & set(bare)
    full = names(
        data_keys(
            rand_augment_operations=2,
            rand_augment_probability=0.5,
            greyscale_probability=0.2,
            blur_probability=0.5,
        )
    )
    assert full.count("StatelessCase") + full.count("Case") == 2 and "MatMul" in full
