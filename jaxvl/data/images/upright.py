"""What an image shows, whatever it holds: upright RGB of 8 bits in the sRGB colours.

Every image that a model sees comes through `upright_rgb`. Exported folders have this file as
jaxvl_images.py, so it needs Pillow and NumPy only.
"""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

MAX_PIXELS = 100_000_000
MAX_ASPECT = 200  # resizing one that is longer and narrower would take gigabytes
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SAME_COLOURS = 3  # of 255: a profile that changes colours by less is taken for sRGB


class BadImage(Exception):
    """The reason why an image cannot be used, in the words of the report."""


def check_size(width: int, height: int) -> None:
    """Raises BadImage for an image that would take too much memory."""
    if width * height > MAX_PIXELS:
        raise BadImage(f"decompression bomb: more than {MAX_PIXELS // 10**6} megapixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(
            f"too narrow: one side is more than {MAX_ASPECT} times the other ({width} x {height})"
        )


def upright_rgb(image: Image.Image) -> Image.Image:
    """Returns an image as RGB: upright, on white where it is transparent, in the colours of sRGB.

    Raises BadImage for one that is too large or whose range of values is unknown, and Pillow's
    errors for one that cannot be decoded.
    """
    check_size(*image.size)
    sixteen_bits = ";16" in str(getattr(image, "tile", ""))
    image.load()
    rgb = _rgb(image)
    if sixteen_bits and image.mode[0] not in "IF":  # Pillow has kept the higher 8 bits
        _scale(0, int(np.asarray(rgb).max()) * 256, "16-bit")
    turn = TURNS.get(orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def orientation(image: Image.Image) -> int:
    """Returns how the image is to be turned: a key of TURNS, or another number for not at all."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds for damaged EXIF, which viewers ignore
        return 1
    return found if isinstance(found, int) else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        return _eight_bits(np.asarray(image)).convert("RGB")
    transparent = image.has_transparency_data
    if transparent or image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGBA" if transparent else "RGB")
    to_srgb = srgb_transform(image.info.get("icc_profile"), image.mode)
    if not transparent:
        return to_srgb.apply(image) if to_srgb else image.convert("RGB")
    alpha, image = image.getchannel("A"), image.convert("RGB")
    image = to_srgb.apply(image) if to_srgb else image
    image.putalpha(alpha)
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _eight_bits(values: np.ndarray) -> Image.Image:
    """Returns the image of 16 or 32 bits, or of floating point, as one of 8 bits."""
    bits = "floating-point" if values.dtype.kind == "f" else f"{8 * values.itemsize}-bit"
    scale = _scale(values.min(), values.max(), bits)
    if scale == 1 / 257:  # of 16 bits the higher 8 count
        return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    return Image.fromarray(np.rint(values * scale).astype(np.uint8))


def _scale(lowest: Any, highest: Any, bits: str) -> float:
    """Returns what takes values to 0..255. They are of 0..1, 0..255 or 0..65535.

    Raises BadImage where these do not hold them, or hold them in their darkest quarter only: such
    values are of another range.
    """
    for top in (1, 255, 65535):
        if 0 <= lowest and top / 4 < highest <= top:
            return 255 / top
    raise BadImage(
        f"{bits} pixels: their range is unknown ({lowest:g} to {highest:g}); convert it to 8 bits"
    )


def srgb_transform(profile: bytes | None, mode: str) -> Any:
    """Returns the ImageCms transform that takes an image of a colour profile to sRGB.

    None where there is no profile, one that cannot be used, or one that leaves colours as they are.
    """
    if not profile or len(profile) > 2**22:
        return None
    return _transform(profile, "RGB" if mode == "RGBA" else mode)


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # as viewers do with a profile that is damaged or of other colours
    if mode not in ("L", "RGB"):
        return found
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(*[steps] * 3), axis=-1).reshape(1, -1, 3)
    if mode == "L":
        colours = np.repeat(steps[None, :, None], 3, axis=2)
    given = colours if mode == "RGB" else colours[..., 0]
    changed = np.asarray(found.apply(Image.fromarray(given.copy())), int)
    return None if np.abs(changed - colours).max() <= SAME_COLOURS else found
