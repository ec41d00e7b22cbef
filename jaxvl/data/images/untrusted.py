"""One picture of a user's folder: safe to open? whole? And as upright RGB JPEG.

Runs in worker processes: imports PIL and NumPy only.
"""

import hashlib
import io
import os
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
MAX_BYTES = 256 * 2**20
JPEG_QUALITY = 95
# Named, so that PIL tries nothing exotic (its EPS reader runs an interpreter).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_ORIENTATION = 0x0112


class BadImage(Exception):
    """Why a picture is left out, as the report says it."""


class Location(NamedTuple):
    """Bytes of a picture: a file (length -1: all of it), or a piece of a tar file."""

    path: str
    offset: int
    length: int


def inside(root, file_name):
    """The path of `file_name` under `root`. Raises BadImage if it leads anywhere else."""
    if not file_name or "\0" in file_name:
        raise BadImage("not a file name")
    if os.path.isabs(file_name) or ".." in file_name.replace("\\", "/").split("/"):
        raise BadImage("the path leaves the folder")
    path = os.path.join(root, file_name)
    if not os.path.lexists(path):
        raise BadImage("missing file")
    real_root, real_path = os.path.realpath(root), os.path.realpath(path)
    if os.path.commonpath([real_root, real_path]) != real_root:
        raise BadImage("a link out of the folder")
    if not os.path.isfile(real_path):
        raise BadImage("missing file" if os.path.islink(path) else "not a regular file")
    return real_path


def check(location, *, max_side):
    """(digest of the bytes, digest of the pixels) of a picture that can be stored.

    Raises BadImage for one that cannot. The pixels are those that `to_jpeg` stores: the same
    picture in two formats has one digest.
    """
    content = _read(location)
    with _open(content) as image:
        pixels = np.asarray(_upright_rgb(image, max_side))
    pixel_digest = hashlib.sha256(repr(pixels.shape).encode())
    pixel_digest.update(np.ascontiguousarray(pixels))
    return hashlib.sha256(content).digest(), pixel_digest.digest()


def to_jpeg(location, byte_digest, *, max_side, keep):
    """A checked picture as upright RGB JPEG, at most max_side pixels a side (0: as it is).

    keep: a file that is that already keeps its bytes. Raises BadImage if it is not what `check`
    saw.
    """
    content = _read(location)
    if hashlib.sha256(content).digest() != byte_digest:
        raise BadImage("changed while it was being prepared")
    with _open(content) as image:
        if keep and _keeps_its_bytes(image, content, max_side):
            return content
        stored = io.BytesIO()
        _upright_rgb(image, max_side).save(stored, "JPEG", quality=JPEG_QUALITY)
    return stored.getvalue()


def upright(location):
    """A picture as upright RGB (PIL), whole. Raises BadImage for one that cannot be read."""
    with _open(_read(location)) as image:
        return _upright_rgb(image, 0)


def _read(location):
    try:
        with open(location.path, "rb") as file:
            size = location.length
            if size < 0:
                size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise BadImage(f"larger than {MAX_BYTES // 2**20} MiB")
            file.seek(location.offset)
            content = file.read(size)
    except OSError as error:
        raise BadImage(f"unreadable: {error.strerror}") from error
    if not content:
        raise BadImage("empty file")
    if len(content) < size:
        raise BadImage("truncated or damaged")
    return content


def _open(content):
    """The picture, its header read and its size allowed, nothing decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of large pictures; the limit here is ours
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise BadImage(_too_large()) from error
        except UnidentifiedImageError as error:
            raise BadImage("not an image") from error
        except Exception as error:  # PIL's readers raise all sorts on hostile headers
            raise BadImage("truncated or damaged") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(_too_large())
    return image


def _too_large():
    return f"decompression bomb: more than {MAX_PIXELS // 10**6} megapixels"


def _keeps_its_bytes(image, content, max_side):
    # Ending as a JPEG must: TensorFlow's decoder insists, PIL's does not.
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and image.getexif().get(_ORIENTATION, 1) == 1
        and not (max_side and max(image.size) > max_side)
        and content.endswith(b"\xff\xd9")
    )


def _upright_rgb(image, max_side):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if max_side:
                image.draft(None, (max_side, max_side))  # JPEG: decodes large ones at 1/2, 1/4 ..
            image.load()
            image = _rgb(ImageOps.exif_transpose(image))
            if max_side and max(image.size) > max_side:
                image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    except BadImage:
        raise
    except Exception as error:  # as above: any failure to decode is the picture's
        raise BadImage("truncated or damaged") from error
    return image


def _rgb(image):
    if image.mode == "F":
        raise BadImage("floating-point pixels: no telling what is white")
    if image.mode.startswith("I"):  # 16 bits a pixel, whatever PIL calls it
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
