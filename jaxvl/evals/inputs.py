"""Images and texts as a user gives them, checked and brought into one form."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from jaxvl.data.images import untrusted
from jaxvl.errors import UserError

AnyImage = str | Path | Image.Image | np.ndarray


def image_list(images: AnyImage | Iterable[AnyImage]) -> list[AnyImage]:
    """Returns a list of images: of one image, several, or an array uint8 [I, H, W, 3].

    Raises UserError where there is none, and for one that is neither a path, a PIL image nor an
    array uint8 [H, W, 3].
    """
    alone = isinstance(images, (str, Path, Image.Image))
    if alone or (isinstance(images, np.ndarray) and images.ndim < 4):
        images = [images]
    elif not isinstance(images, Iterable):
        raise UserError(_wrong_image(images, 0))
    found = [_checked(image, number) for number, image in enumerate(images)]
    if not found:
        raise UserError("no image was given")
    return found


def _checked(image, number):
    if isinstance(image, (str, Path, Image.Image)):
        return image
    if hasattr(image, "__array__"):  # of another library too
        image = np.asarray(image)
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
            return image
    raise UserError(_wrong_image(image, number))


def _wrong_image(image, number):
    given = type(image).__name__
    if isinstance(image, np.ndarray):
        given = f"an array {image.dtype} {list(image.shape)}"
    return (
        f"image {number} is {given}; an image is a path, a PIL image or an array uint8 "
        "[height, width, 3]"
    )


def open_image(image: AnyImage, number: int = 0) -> Image.Image:
    """Returns an image as upright RGB, on white where it is transparent.

    number: its place among the images given, for the message. Raises UserError naming an image
    that cannot be read.
    """
    if isinstance(image, np.ndarray):
        return Image.fromarray(image)
    try:
        if isinstance(image, Image.Image):
            return untrusted.upright_image(image)
        return untrusted.upright(untrusted.Location(str(image), 0, -1))
    except untrusted.BadImage as error:
        name = number if isinstance(image, Image.Image) else image
        raise UserError(f"image {name}: {error}") from error


def text_list(texts: str | Iterable[str]) -> list[str]:
    """Returns a list of texts: of one text or several.

    Raises UserError where there is none, and naming one that is no text.
    """
    if not isinstance(texts, Iterable):
        raise UserError(f"texts are {type(texts).__name__}, not a string or several")
    found = [texts] if isinstance(texts, str) else list(texts)
    if not found:
        raise UserError("no text was given")
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise UserError(f"text {number} is {type(text).__name__}, not a string")
    return found
