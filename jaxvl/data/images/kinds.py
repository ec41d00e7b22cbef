"""What a file is that is no image that can be read: its kind by its first bytes, and what to do."""

import re
from collections.abc import Iterable

HEIF_EXTRA = "pip install 'jaxvl[heic]'"
EXTENSIONS = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    *("jpe", "jfif", "avif", "heic", "heif", "jp2", "j2k", "jxl", "ppm", "pgm", "tga", "ico"),
)
_HEIC = r"ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)"
_KINDS = (  # (of the first bytes, name)
    (r"\0\0\0.ftyp(avif|avis)", "AVIF"),
    (r"\0\0\0." + _HEIC, "HEIC"),
    (r"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (r"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL"),
    (r"P[1-7]\s", "PPM"),
    (r"\0\0[\1\2]\0", "ICO"),
    (r"8BPS", "Photoshop"),
    (r"%PDF", "PDF"),
    (r"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", "SVG"),
    (r"\s*<(!doctype )?html", "HTML, a web page,"),
    (r"\0\0\0.ftyp(isom|mp4|qt|M4V)", "a film"),
    (r"\0\0\0.ftypcrx ", "a raw file of a camera"),
)
_TGA_END = b"TRUEVISION-XFILE.\0"
_FORMATS = {"AVIF": "AVIF", "HEIC": "HEIF", "JPEG 2000": "JPEG2000"}  # as Pillow calls them


def reason(content: bytes, *, readable: Iterable[str]) -> str:
    """Returns why a file that is no readable image cannot be used, in the words of the report.

    readable: the formats that can be read; a file of one of these is damaged.
    """
    kind = _kind(content)
    if not kind:
        return "not an image"
    if kind in _FORMATS and _FORMATS[kind] in readable:
        return "truncated or damaged"
    advice = "convert it to JPEG or PNG"
    if kind == "HEIC":
        advice += f", or {HEIF_EXTRA}"
    return f"{kind} is not read ({advice})"


def _kind(content: bytes) -> str:
    if content.endswith(_TGA_END):
        return "TGA"
    head = content[:512].decode("latin-1")
    for pattern, kind in _KINDS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return kind
    return ""
