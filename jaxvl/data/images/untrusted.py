"""Opens an untrusted image safely, checks that it is complete, and makes it upright RGB JPEG.

It runs in worker processes, so it imports PIL and NumPy only.
"""

import functools
import hashlib
import io
import os
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from jaxvl.data.images import jpeg, kinds
from jaxvl.data.images.upright import (
    BadImage,
    check_size,
    orientation,
    srgb_transform,
    upright_rgb,
)

MAX_BYTES = 256 * 2**20
JPEG_QUALITY = 95
# Listed, so that PIL tries no other: its EPS reader runs an interpreter.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class MissingFile(BadImage):
    """There is no such file."""


class Location(NamedTuple):
    """Where an image's bytes are: a file (length -1: all of it), or a part of a tar file."""

    path: str
    offset: int
    length: int


def inside(root: str | os.PathLike[str], file_name: str) -> str:
    """Returns the path of `file_name` under `root`. Raises BadImage if it leads anywhere else."""
    if not file_name or "\0" in file_name:
        raise BadImage("not a file name")
    if os.path.isabs(file_name) or ".." in file_name.replace("\\", "/").split("/"):
        raise BadImage("the path leaves the folder")
    path = os.path.join(root, file_name)
    if not os.path.lexists(path):
        raise MissingFile("missing file")
    real_root, real_path = os.path.realpath(root), os.path.realpath(path)
    if os.path.commonpath([real_root, real_path]) != real_root:
        raise BadImage("a link out of the folder")
    if not os.path.isfile(real_path):
        raise BadImage("missing file" if os.path.islink(path) else "not a regular file")
    return real_path


def check(location: Location, *, max_side: int) -> tuple[bytes, bytes]:
    """Returns the digests of the bytes and of the pixels of an image that can be stored.

    The pixels are those that `to_jpeg` stores, so the same image in two formats has one digest.
    max_side: as in `to_jpeg`. Raises BadImage for an image that cannot be stored.
    """
    content = read(location)
    with opened(content) as image:
        pixels = np.asarray(_upright_rgb(image, max_side))
    pixel_digest = hashlib.sha256(repr(pixels.shape).encode())
    pixel_digest.update(pixels.tobytes())
    return hashlib.sha256(content).digest(), pixel_digest.digest()


def to_jpeg(
    location: Location,
    byte_digest: bytes,
    *,
    max_side: int,
    keep: bool,
    keep_metadata: bool = False,
) -> bytes:
    """Returns a checked image as upright RGB JPEG.

    byte_digest: from `check`. max_side: longest side in pixels; 0 keeps the size. keep: a file that
    is upright RGB JPEG of that size already keeps its bytes, but for the metadata, which
    keep_metadata keeps too. Returns b"" for a damaged one whose metadata cannot be told from it.
    Raises BadImage if the file is not the one that `check` read.
    """
    content = read(location)
    if hashlib.sha256(content).digest() != byte_digest:
        raise BadImage("changed while it was being prepared")
    with opened(content) as image:
        if keep and _keeps_its_bytes(image, content, max_side):
            return content if keep_metadata else _without_metadata(content)
        stored = io.BytesIO()
        _upright_rgb(image, max_side).save(stored, "JPEG", quality=JPEG_QUALITY)
    return stored.getvalue()


def _without_metadata(content: bytes) -> bytes:
    try:
        return jpeg.without_metadata(content)
    except ValueError:
        return b""


def upright(location: Location) -> Image.Image:
    """Returns an image as upright RGB. Raises BadImage for one that cannot be read."""
    return from_bytes(read(location))


def from_bytes(encoded: bytes) -> Image.Image:
    """Returns an encoded image as upright RGB. Raises BadImage for one that cannot be read."""
    with opened(encoded) as image:
        return _upright_rgb(image, 0)


def upright_image(image: Image.Image, *, max_side: int = 0) -> Image.Image:
    """Returns an opened image as upright RGB, at most max_side pixels long; 0 keeps its size.

    Raises BadImage for one that cannot be decoded.
    """
    return _upright_rgb(image, max_side)


def read(location: Location) -> bytes:
    """Returns the bytes of an image that are stored. Raises BadImage where there are none."""
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


def opened(content: bytes) -> Image.Image:
    """Returns the image after its header is read and its size allowed; nothing is decoded.

    Raises BadImage for one that cannot be used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of large images; `upright` has its own limit
        try:
            image = Image.open(io.BytesIO(content), formats=_formats())
        except Image.DecompressionBombError:
            check_size(10**9, 10**9)
            raise
        except UnidentifiedImageError as error:
            raise BadImage(kinds.reason(content, readable=_formats())) from error
        except Exception as error:  # PIL's readers raise many kinds on hostile headers
            raise BadImage("truncated or damaged") from error
    check_size(*image.size)
    return image


@functools.cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that are read here: FORMATS, and those that not every Pillow has."""
    found = list(FORMATS)
    found += ["AVIF"] if features.check("avif") else []
    found += ["JPEG2000"] if features.check("jpg_2000") else []
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        return tuple(found)
    pillow_heif.register_heif_opener()
    return (*found, "HEIF")


def _keeps_its_bytes(image: Image.Image, content: bytes, max_side: int) -> bool:
    # A JPEG must end with its end marker: TensorFlow's decoder insists on it, PIL's does not.
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and orientation(image) == 1
        and not (max_side and max(image.size) > max_side)
        and content.endswith(b"\xff\xd9")
        and srgb_transform(image.info.get("icc_profile"), "RGB") is None
    )


def _upright_rgb(image: Image.Image, max_side: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if max_side:
                image.draft(None, (max_side, max_side))  # JPEG: decodes large ones at 1/2, 1/4 ..
            image = upright_rgb(image)
            if max_side and max(image.size) > max_side:
                image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    except BadImage:
        raise
    except Exception as error:  # as above: whatever fails here, the image is at fault
        raise BadImage("truncated or damaged") from error
    return image
