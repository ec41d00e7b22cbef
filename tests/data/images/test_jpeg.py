"""What tells of people goes from a JPEG file; every pixel and the rest of the file stay."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxvl.data.images import jpeg

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PLACE = b"N 35 41 22 E 139 41 30"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + PLACE + b"</x:xmpmeta>"


def photograph(**options):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90, **options)
    return content.getvalue()


def exif():
    found = Image.Exif()
    found[0x010F] = "Camera of A. Person"
    found.get_ifd(0x8825)[0x0002] = (35.0, 41.0, 22.0)
    return found


def inserted(content, marker, data):
    """The file with one more segment, right after its beginning."""
    segment = bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data
    return content[:2] + segment + content[2:]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"icc_profile": SRGB}])
def test_a_file_without_metadata_keeps_every_byte(options):
    content = photograph(**options)
    assert jpeg.without_metadata(content) == content


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    "told",
    [
        lambda content: inserted(content, 0xE1, b"Exif\0\0" + exif().tobytes()[6:]),
        lambda content: inserted(content, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        lambda content: inserted(content, 0xED, b"Photoshop 3.0\0" + PLACE),
        lambda content: inserted(content, 0xE2, b"MPF\0" + PLACE),
        lambda content: inserted(content, 0xE0, b"JFXX\0\x10" + PLACE),
        lambda content: inserted(content, 0xEB, PLACE),
        lambda content: inserted(content, 0xFE, PLACE),
        lambda content: content + PLACE + b"\xff\xd9",  # a film behind the image, say
    ],
    ids="exif xmp iptc preview thumbnail provenance comment behind".split(),
)
def test_what_tells_of_people_goes_and_the_rest_stays(progressive, told):
    plain = photograph(progressive=progressive, icc_profile=SRGB)
    assert jpeg.without_metadata(told(plain)) == plain


def test_colours_of_an_adobe_file_stay():
    image = Image.new("CMYK", (8, 8), (10, 200, 30, 0))
    content = io.BytesIO()
    image.save(content, "JPEG", exif=exif())
    found = Image.open(io.BytesIO(jpeg.without_metadata(content.getvalue())))
    before = Image.open(io.BytesIO(content.getvalue()))
    assert before.getexif() and not found.getexif()
    np.testing.assert_array_equal(np.asarray(found), np.asarray(before))


@pytest.mark.parametrize("end", range(0, 700, 37))
def test_a_file_that_is_cut_off_is_an_error(end):
    with pytest.raises(ValueError):
        jpeg.without_metadata(photograph()[:end])


def test_a_damaged_file_never_takes_for_ever():
    whole = bytearray(inserted(photograph(), 0xFE, PLACE))
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for at in generator.integers(0, len(whole), 3):
            damaged[at] = generator.integers(256)
        try:
            found = jpeg.without_metadata(bytes(damaged))
        except ValueError:
            continue
        assert len(found) <= len(whole)
