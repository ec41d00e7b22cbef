"""Measures of an image: what they find in a planted one, and that they do so in any of a kind."""

import io

import numpy as np
import planted
import pytest
from PIL import Image, ImageFilter

from jaxvl.clean import pictures
from jaxvl.data.images.untrusted import Location


def measured(image, **options):
    stored = io.BytesIO()
    image.save(stored, options.pop("format", "JPEG"), **options)
    found = pictures.measure(stored.getvalue())
    assert isinstance(found, pictures.Picture), found
    return found


def test_blur_grows_with_the_radius_and_is_far_from_that_of_a_sharp_image():
    image = planted.photo(0)
    blurs = [
        measured(image.filter(ImageFilter.GaussianBlur(radius))).blur for radius in (0, 1, 2, 4)
    ]
    assert blurs == sorted(blurs)
    assert blurs[0] < 0.4 and blurs[-1] > 0.6


def test_blur_does_not_depend_on_contrast_and_is_0_for_one_colour():
    grey_HxW = pictures.brightness(planted.photo(1))
    assert pictures.blur(0.2 * grey_HxW) == pytest.approx(pictures.blur(grey_HxW), abs=1e-3)
    assert measured(Image.new("RGB", (90, 80), (10, 200, 30))).blur == 0


def test_light_of_a_night_and_contrast_of_one_colour():
    dark = planted.photo(2).point(lambda value: value // 8)
    assert measured(dark).light < 0.2 < measured(planted.photo(2)).light
    assert measured(Image.new("RGB", (50, 50), "white")).contrast < 0.001


def test_the_size_is_that_of_the_upright_image():
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    found = measured(planted.photo(3, (200, 150)), exif=exif)
    assert (found.width, found.height) == (150, 200)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_place_is_found_in_every_format(kind):
    image = planted.photo(4)
    assert measured(image, format=kind, exif=planted.with_place()).place
    assert not measured(image, format=kind).place


def test_a_place_in_xmp_and_people_in_exif_are_found():
    image, artist, owner, nobody = planted.photo(5), Image.Exif(), Image.Exif(), Image.Exif()
    artist[0x013B] = "A. Person"
    owner[0x8769] = {0xA430: "A. Person"}
    nobody[0x013B] = " \0"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a exif:GPSLatitude="35,40N"/></x:xmpmeta>'
    assert measured(image, xmp=xmp).place
    assert measured(image, exif=artist).people and measured(image, exif=owner).people
    assert not measured(image, exif=nobody).people


def test_damaged_exif_names_nobody():
    found = measured(planted.photo(6), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(40))
    assert not found.place and not found.people


def test_what_cannot_be_read_is_a_reason(tmp_path):
    path = tmp_path / "a.jpg"
    planted.photo(7).save(path)
    path.write_bytes(path.read_bytes()[:900])
    assert pictures.measure(Location(str(path), 0, -1)) == "truncated or damaged"
    assert pictures.measure(b"hello") == "not an image"
    assert pictures.measure(Location(str(tmp_path / "no.jpg"), 0, -1)) == (
        "unreadable: No such file or directory"
    )


def test_the_hash_keeps_through_size_quality_and_light_and_differs_between_images():
    hashes = [measured(planted.photo(seed)).phash for seed in range(12)]
    for number in range(planted.COPIES):
        again = measured(planted.copied(planted.photo(number), number), quality=40).phash
        assert (again ^ hashes[number]).bit_count() <= 10
    apart = [(a ^ b).bit_count() for k, a in enumerate(hashes) for b in hashes[:k]]
    assert min(apart) > 10
    assert np.uint64(max(hashes)) >= 0  # fits
