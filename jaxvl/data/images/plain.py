"""Encoded images for TensorFlow, which decodes in training and knows fewer rules than Pillow does.

TensorFlow turns nothing upright, puts nothing on white and reads no colour profile. An image for
which that makes a difference is decoded here and handed on as BMP, without loss; most are not.
"""

import io

from PIL import Image

from jaxvl.data.images import jpeg, untrusted
from jaxvl.data.images.upright import ORIENTATION, check_size, srgb_transform

_START_OF_FRAME = frozenset({0xC0, 0xC1, 0xC2})  # of the kinds that decoders know
_APP1, _APP2 = 0xE1, 0xE2
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
_TURNED = b"tiff:Orientation"  # in XMP
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_CHUNKS = (b"tRNS", b"iCCP", b"eXIf", _TURNED)
_OPAQUE = (0, 2, 3)  # of the types of colour: grey, RGB, palette


def plain(encoded: bytes) -> bytes:
    """Returns bytes that TensorFlow decodes to the pixels that `untrusted` makes of an image.

    They are the given ones wherever those do. Raises BadImage for an image that cannot be used.
    """
    try:
        if encoded[:2] == b"\xff\xd8":
            is_plain = _is_plain_jpeg(encoded)
        else:
            is_plain = encoded[:16] == _PNG and _is_plain_png(encoded)
    except ValueError:  # damaged: Pillow knows how, and what can be read of it
        is_plain = False
    if is_plain:
        return encoded
    decoded = io.BytesIO()
    untrusted.from_bytes(encoded).save(decoded, "BMP")
    return decoded.getvalue()


def _is_plain_jpeg(encoded: bytes) -> bool:
    profile, colours = [], 0
    for marker, _, start, end in jpeg.segments(encoded):
        if marker in _START_OF_FRAME:
            bits, high, low, left, right, colours = encoded[start : start + 6]
            check_size(left << 8 | right, high << 8 | low)
            if bits != 8 or colours not in (1, 3):
                return False
        elif marker == _APP1 and _is_turned(encoded[start:end]):
            return False
        elif marker == _APP2 and encoded.startswith(_PROFILE, start):
            profile.append(encoded[start + len(_PROFILE) : end])
    if not profile:
        return colours > 0
    parts = b"".join(part[2:] for part in sorted(profile, key=lambda part: part[:1]))
    return srgb_transform(parts, "RGB" if colours == 3 else "L") is None


def _is_turned(content: bytes) -> bool:
    if not content.startswith(_EXIF):
        return _TURNED in content
    exif = Image.Exif()
    try:
        exif.load(content)
        return exif.get(ORIENTATION, 1) != 1
    except Exception:  # as in upright.orientation: damaged EXIF turns nothing
        return False


def _is_plain_png(encoded: bytes) -> bool:
    width, height = (int.from_bytes(encoded[at : at + 4], "big") for at in (16, 20))
    check_size(width, height)
    bits, colours = encoded[24], encoded[25]
    return bits <= 8 and colours in _OPAQUE and not any(name in encoded for name in _PNG_CHUNKS)
