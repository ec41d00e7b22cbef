"""One way in: whatever an image holds, every reader of images shows a model the same pixels."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxvl.data.host_tf import tf
from jaxvl.data.images import untrusted
from jaxvl.data.images.plain import plain
from jaxvl.data.images.upright import BadImage, upright_rgb
from jaxvl.data.images.whole import whole
from jaxvl.evals.inputs import open_image

ROOT = Path(__file__).parents[3]
RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(left=RED, right=BLACK, size=(16, 8)):
    """An image of two colours, side by side."""
    image = Image.new("RGB", size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def xmp(orientation):
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="{orientation}"/>'.encode()


def transparent(mode="RGBA"):
    image = halves().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    if mode != "P":
        return image.convert(mode)
    palette = halves(RED, GREEN).quantize(2)
    palette.info["transparency"] = palette.getpixel((0, 0))
    return palette


def swapped_profile():
    """A colour profile whose red is sRGB's green, and the other way round."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {}
    for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        tags[bytes(profile[at : at + 4])] = at
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = swapped_profile()


def sixteen(top):
    values = np.full((8, 16), top // 2, np.uint16)
    values[:, 8:] = top
    return Image.fromarray(values)


def rgb_tiff_of_16_bits(value):
    """A TIFF of one pixel with three colours of 16 bits, which Pillow cannot write."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 128), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6)]
    told = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + count.to_bytes(4, "little")
        + what.to_bytes(4, "little")
        for tag, kind, count, what in entries
    )
    head = b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little") + told + bytes(4)
    return head.ljust(122, b"\0") + (16).to_bytes(2, "little") * 3 + value.to_bytes(2, "little") * 3


# name: (the file, colours at the middle of the left and of the right half, or of top and bottom)
IMAGES = {
    "jpeg": (encoded(halves(), "JPEG", quality=100), RED, BLACK),
    "turned": (encoded(halves(), "JPEG", quality=100, exif=exif(6)), RED, BLACK),
    "turned png": (encoded(halves(), exif=exif(8)), BLACK, RED),
    "mirrored": (encoded(halves(), "JPEG", quality=100, exif=exif(2)), BLACK, RED),
    "turned by xmp": (encoded(halves(), "JPEG", quality=100, xmp=xmp(3)), BLACK, RED),
    "turned webp": (encoded(halves(), "WEBP", lossless=True, exif=exif(3)), BLACK, RED),
    "damaged exif": (
        encoded(halves(), "JPEG", quality=100, exif=b"Exif\0\0II*\0\xff\xff"), RED, BLACK,
    ),
    "transparent": (encoded(transparent()), WHITE, WHITE),
    "transparent grey": (encoded(transparent("LA")), WHITE, WHITE),
    "transparent palette": (encoded(transparent("P")), WHITE, GREEN),
    "transparent gif": (encoded(transparent("P"), "GIF"), WHITE, GREEN),
    "transparent webp": (encoded(transparent(), "WEBP", lossless=True), WHITE, WHITE),
    "sixteen bits": (encoded(sixteen(65535)), (127,) * 3, WHITE),
    "eight bits in sixteen": (encoded(sixteen(255)), (127,) * 3, WHITE),
    "eight bits in 32": (
        encoded(Image.fromarray(np.asarray(sixteen(255), np.int32)), "TIFF"), (127,) * 3, WHITE,
    ),
    "sixteen bits a colour": (rgb_tiff_of_16_bits(0x8012), (128,) * 3, (128,) * 3),
    "float up to 1": (
        encoded(Image.fromarray(np.asarray(sixteen(510), np.float32) / 510), "TIFF"),
        (128,) * 3, WHITE,
    ),
    "float up to 255": (
        encoded(Image.fromarray(np.asarray(sixteen(254), np.float32)), "TIFF"),
        (127,) * 3, (254,) * 3,
    ),
    "profile": (encoded(halves(), "JPEG", quality=100, icc_profile=SWAPPED), GREEN, BLACK),
    "profile png": (encoded(halves(), icc_profile=SWAPPED), GREEN, BLACK),
    "profile and alpha": (encoded(halves().convert("RGBA"), icc_profile=SWAPPED), GREEN, BLACK),
    "profile of srgb": (encoded(halves(), "JPEG", quality=100, icc_profile=SRGB), RED, BLACK),
    "damaged profile": (
        encoded(halves(), "JPEG", quality=100, icc_profile=b"no profile"), RED, BLACK,
    ),
    "cmyk": (
        encoded(Image.new("CMYK", (16, 8), (0, 255, 255, 0)), "JPEG", quality=100), RED, RED,
    ),
    "grey": (encoded(Image.new("L", (16, 8), 100), "JPEG"), (100,) * 3, (100,) * 3),
    "one bit": (encoded(halves(WHITE).convert("1")), WHITE, BLACK),
    "bmp": (encoded(halves(), "BMP"), RED, BLACK),
    "odd bmp": (encoded(halves(size=(14, 7)), "BMP"), RED, BLACK),
    "avif": (encoded(halves(), "AVIF", quality=100), RED, BLACK),
    "jpeg 2000": (encoded(halves(), "JPEG2000"), RED, BLACK),
}  # fmt: skip


def shown(pixels, tall):
    """The colours in the middle of the first and of the second half."""
    height, width = pixels.shape[:2]
    if not tall:
        return pixels[height // 2, width // 4], pixels[height // 2, -1 - width // 4]
    return pixels[height // 4, width // 2], pixels[-1 - height // 4, width // 2]


def readers(content, path):
    """{who reads it: the pixels that a model is shown}."""
    path.write_bytes(content)
    location = untrusted.Location(str(path), 0, -1)
    digest, _ = untrusted.check(location, max_side=0)
    stored = untrusted.to_jpeg(location, digest, max_side=0, keep=True)
    upright = untrusted.upright(location)
    side = max(upright.size)
    prepared = {
        "prepared folder": stored,
        "training": plain(content),  # as records.mapper does, for a TFDS data set too
        "training on a prepared folder": plain(stored),
    }
    decoded = {
        name: tf.io.decode_image(image, channels=3, expand_animations=False).numpy()
        for name, image in prepared.items()
    }
    return decoded | {
        "evaluation": whole(content, side),
        "benchmark": np.asarray(upright),
        "explain": np.asarray(open_image(path)),
        "Python": np.asarray(open_image(Image.open(path))),
        "loaded": np.asarray(upright_rgb(Image.open(io.BytesIO(content)))),
    }


@pytest.mark.parametrize("name", IMAGES)
def test_every_reader_sees_the_same(tmp_path, name):
    content, *colours = IMAGES[name]
    found_by = readers(content, tmp_path / "image")
    height, width, _ = found_by["benchmark"].shape
    for reader, pixels in found_by.items():
        for found, wanted in zip(shown(pixels, height > width), colours):
            np.testing.assert_allclose(found, wanted, atol=4, err_msg=reader)


@pytest.mark.parametrize(
    "content, reason",
    [
        (encoded(sixteen(4095)), "16-bit pixels: their range is unknown .2047 to 4095.; convert"),
        (rgb_tiff_of_16_bits(4095), "16-bit pixels: their range is unknown"),
        (encoded(Image.new("I", (4, 4), 70_000), "TIFF"), "32-bit pixels: their range is unknown"),
        (encoded(Image.new("I", (4, 4), -200), "TIFF"), "32-bit pixels: their range is unknown"),
        (encoded(Image.new("F", (4, 4), 300.0), "TIFF"), "floating-point pixels: their range"),
        (encoded(Image.new("F", (4, 4), float("nan")), "TIFF"), "floating-point pixels"),
        (encoded(Image.new("L", (4001, 20))), "too narrow: one side is more than 200 times"),
        (encoded(Image.new("1", (10_001, 10_000))), "decompression bomb: more than 100 mega"),
    ],
    ids="12-bits 12-bits-a-colour 70000 negative 300 nan narrow large".split(),
)
def test_what_has_no_sure_meaning_is_refused_by_every_reader(content, reason):
    for read in (untrusted.from_bytes, plain):
        with pytest.raises(BadImage, match=f"^{reason}"):
            read(content)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300), r"HEIC is not read \(convert it to"),
        (b"\0\0\0\x20ftypavif\0\0\0\0" + bytes(300), "truncated or damaged"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "truncated or damaged"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL is not read"),
        (encoded(halves(), "PPM"), "PPM is not read"),
        (encoded(halves(), "TGA"), "TGA is not read"),
        (encoded(halves(), "ICO"), "ICO is not read"),
        (b'<?xml version="1.0"?>\n<svg width="9"/>', "SVG is not read"),
        (b"%PDF-1.7\n", "PDF is not read"),
        (b"<!DOCTYPE html><html>404", "HTML, a web page, is not read"),
        (b"nothing of the kind" * 9, "not an image$"),
    ],
)
def test_what_is_not_read_is_called_what_it_is(monkeypatch, content, reason):
    formats = (*untrusted.FORMATS, "AVIF", "JPEG2000")  # as without the extra
    monkeypatch.setattr(untrusted, "_formats", lambda: formats)
    with pytest.raises(BadImage, match=f"^{reason}"):
        untrusted.from_bytes(content)


def test_formats_that_pillow_was_built_without_are_called_what_they_are(monkeypatch):
    monkeypatch.setattr(untrusted, "_formats", lambda: untrusted.FORMATS)
    for kind, name in {"AVIF": "AVIF", "JPEG2000": "JPEG 2000"}.items():
        with pytest.raises(BadImage, match=f"^{name} is not read .convert it to JPEG or PNG.$"):
            untrusted.from_bytes(encoded(halves(), kind))


def test_heic_is_read_where_the_extra_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    content = encoded(halves(size=(64, 32)), "HEIF", quality=100)
    for reader, pixels in readers(content, tmp_path / "image").items():
        np.testing.assert_allclose(shown(pixels, tall=False)[0], RED, atol=12, err_msg=reader)


def test_a_long_and_narrow_image_takes_no_memory(tmp_path):
    """20,000 x 1 pixels, resized until the shorter side is 224, took 4.8 GB."""
    (tmp_path / "narrow.png").write_bytes(encoded(Image.new("RGB", (20_000, 1))))
    code = f"""
import json, resource
from jaxvl.data.images import whole
from jaxvl.data.images.untrusted import BadImage
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
try:
    whole.whole(open({str(tmp_path / "narrow.png")!r}, "rb").read(), 224, crop="center")
except BadImage as error:
    print(json.dumps([str(error), peak() - before]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    reason, kilobytes = json.loads(found.stdout)
    assert reason.startswith("too narrow") and kilobytes < 50_000
