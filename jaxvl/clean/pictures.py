"""What can be said of one image alone: sizes, light, sharpness, hash, and whether it names people.

It runs in worker processes. Letters: H W the height and width of an image.
"""

import importlib.util
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxvl.data.images import untrusted
from jaxvl.data.images.untrusted import Location
from jaxvl.data.images.upright import orientation
from jaxvl.errors import UserError

SIDE = 160  # pixels of the longer side at which an image is measured: about what models read
COLOURS = 16  # side of the smallest copy, in which near-copies are compared
_BLUR_WINDOW = 11  # of the reference
_LUMINANCE = (0.241, 0.691, 0.068)
_GPS, _EXIF = 0x8825, 0x8769
_PLACE = (2, 4)  # latitude, longitude
_PEOPLE = (0x013B, 0x9C9D)  # artist, author
_OWNER = 0xA430


class Picture(NamedTuple):
    """Measures of an image.

    width, height: in pixels, upright. blur: 0 sharp, 1 blurred, see `blur`. light: see `light`.
    contrast: standard deviation of the brightness, 0..1. phash: 64 bits that near-copies share.
    colours: uint8 [16, 16, 3], the image as small as this. place: whether its metadata tell where
    it was taken. people: whether they name an author or an owner.
    """

    width: int
    height: int
    blur: float
    light: float
    contrast: float
    phash: int
    colours: np.ndarray
    place: bool
    people: bool


def check_installed() -> None:
    """Raises UserError where what makes the hash is not installed."""
    if importlib.util.find_spec("imagehash") is None:
        raise UserError(
            "copies are found by imagehash, which is not installed; run: pip install 'jaxvl[clean]'"
        )


def measure(content: bytes | Location) -> Picture | str:
    """Returns the Picture of an encoded image, or why it cannot be read."""
    try:
        if isinstance(content, Location):
            content = untrusted.read(content)
        with untrusted.opened(content) as image:
            return _measured(image)
    except untrusted.BadImage as error:
        return str(error)


def _measured(image: Image.Image) -> Picture:
    width, height = image.size if orientation(image) < 5 else image.size[::-1]
    place, people = names_place(image), names_people(image)
    small = untrusted.upright_image(image, max_side=SIDE)
    grey_HxW = brightness(small)
    tiny = small.resize((COLOURS, COLOURS), Image.Resampling.BOX)
    return Picture(
        width=width,
        height=height,
        blur=blur(grey_HxW),
        light=light(grey_HxW),
        contrast=float(grey_HxW.std()),
        phash=phash(small),
        colours=np.asarray(tiny),
        place=place,
        people=people,
    )


def brightness(image: Image.Image) -> np.ndarray:
    """Returns float32 [H, W] in 0..1: how bright each pixel of an RGB image looks.

    Source: cleanvision (Cleanlab), which weighs the squares of the three colours.
    """
    pixels_HxWx3 = np.asarray(image, np.float32) / 255
    return np.sqrt(pixels_HxWx3**2 @ np.array(_LUMINANCE, np.float32))


def light(grey_HxW: np.ndarray) -> float:
    """Returns the brightness that 1 % of the pixels exceed, 0..1: low for a dark image."""
    return float(np.quantile(grey_HxW, 0.99))


def blur(grey_HxW: np.ndarray) -> float:
    """Returns how much an image is blurred: 0 not at all, 1 fully; 0 for one colour.

    It is blurred once more: one that was sharp changes much by this, one that was not changes
    little. Source: Crete et al. 2007, "The blur effect".
    """
    found = [0.0]
    for axis in (0, 1):
        steps = np.abs(np.diff(grey_HxW, axis=axis))
        lost = np.maximum(0, steps - np.abs(np.diff(_smooth(grey_HxW, axis), axis=axis)))
        if steps.sum() > 1e-6 * steps.size:
            found.append(float(1 - lost.sum() / steps.sum()))
    return max(found)


def _smooth(grey_HxW: np.ndarray, axis: int) -> np.ndarray:
    """Returns the mean of 11 pixels in a row around each pixel."""
    before = [(0, 0), (0, 0)]
    before[axis] = (_BLUR_WINDOW // 2 + 1, _BLUR_WINDOW // 2)
    sums = np.pad(grey_HxW, before, mode="edge").astype(np.float64).cumsum(axis=axis)
    length = grey_HxW.shape[axis]
    ends, starts = (
        np.take(sums, np.arange(length) + start, axis=axis) for start in (_BLUR_WINDOW, 0)
    )
    return (ends - starts) / _BLUR_WINDOW


def phash(image: Image.Image) -> int:
    """Returns 64 bits that hardly change with size, quality, brightness and colour of an image."""
    import imagehash

    bits_8x8 = imagehash.phash(image).hash
    return int.from_bytes(np.packbits(bits_8x8).tobytes(), "big")


def names_place(image: Image.Image) -> bool:
    """Returns whether an opened image's EXIF or XMP says where it was taken."""
    gps = _exif(image, _GPS)
    return any(tag in gps for tag in _PLACE) or b"GPSLatitude" in _xmp(image)


def names_people(image: Image.Image) -> bool:
    """Returns whether an opened image's EXIF or XMP names an author or the camera's owner."""
    named = [_exif(image).get(tag) for tag in _PEOPLE] + [_exif(image, _EXIF).get(_OWNER)]
    in_words = any(str(name or "").strip("\0 ") for name in named)
    return in_words or b"dc:creator" in _xmp(image)


def _exif(image: Image.Image, part: int = 0) -> dict:
    try:
        exif = image.getexif()
        return dict(exif.get_ifd(part) if part else exif)
    except Exception:  # Pillow raises many kinds for damaged EXIF, which names nobody
        return {}


def _xmp(image: Image.Image) -> bytes:
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return found.encode() if isinstance(found, str) else bytes(found)
