"""A folder of photographs with planted faults, as the tests of this room look at it."""

import json

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

SIZE = (200, 150)
GOOD, COPIES, PLACES, BLURRED = 40, 5, 3, 20


def photo(seed, size=SIZE):
    """A picture of its own: soft light, sharp things, a little noise."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(40, 216, (6, 6, 3), np.uint8))
    image = soft.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        x, y, w, h = rng.integers(0, (*size, 40, 40))
        draw.rectangle((x, y, x + w, y + h), fill=tuple(map(int, rng.integers(0, 256, 3))))
    noise = rng.normal(0, 4, (*size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def copied(image, number):
    """The same picture: smaller, of less quality, brighter, paler, or cut by a few pixels."""
    return (
        image.resize((140, 105)),
        image,
        ImageEnhance.Brightness(image).enhance(1.2),
        ImageEnhance.Contrast(image).enhance(0.7),
        image.crop((2, 2, image.width - 2, image.height - 1)),
    )[number]


def with_place():
    """EXIF that says where a picture was taken."""
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (35.0, 40.0, 53.0), 3: "E", 4: (139.0, 45.0, 56.0)}
    return exif.tobytes()


def fill(folder):
    """Writes the photographs and metadata.jsonl into a folder; returns {fault: file names}."""
    folder.mkdir(parents=True)
    names = {"good": [], "copies": [], "places": [], "blurred": []}
    seeds = iter(range(1000))

    def add(kind, image, **options):
        name = f"{kind}_{len(names[kind])}.jpg"
        image.save(folder / name, quality=options.pop("quality", 92), **options)
        names[kind].append(name)

    for _ in range(GOOD):
        add("good", photo(next(seeds)))
    for number in range(COPIES):
        add("copies", copied(photo(number), number), quality=60)
    for _ in range(PLACES):
        add("places", photo(next(seeds)), exif=with_place())
    for _ in range(BLURRED):
        add("blurred", photo(next(seeds)).filter(ImageFilter.GaussianBlur(3)))
    lines = [
        {"file_name": name, "text": f"a small red cup number {number}", "split": "train"}
        for number, name in enumerate(name for some in names.values() for name in some)
    ]
    write(folder, lines)
    return names


def write(folder, lines):
    """Writes metadata.jsonl."""
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def lines(folder):
    """The lines of metadata.jsonl."""
    text = (folder / "metadata.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
