"""Draws what a model looks at: a picture once a word, lit where the word's relevance lies.

Letters: W words, g patches along a side, H W pixels.
"""

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND, INK, FAINT = (255, 255, 255), (25, 25, 30), (120, 120, 128)
EMBER, GLOW = np.array([190.0, 35.0, 10.0]), np.array([255.0, 232.0, 110.0])  # weak, strong light
GAP, MARGIN = 10, 24
UNLIT = 0.4  # brightness where the model did not look


def heat(map_gxg, size):
    """Returns float32 [H, W] in [0, 1]: the map between its least and its greatest value.

    size: (W, H). An even map has no bright place: all zeros.
    """
    low, high = float(map_gxg.min()), float(map_gxg.max())
    if not high > low:
        return np.zeros(size[::-1], np.float32)
    scaled = Image.fromarray(((map_gxg - low) / (high - low)).astype(np.float32))
    return np.clip(np.asarray(scaled.resize(size, Image.Resampling.BICUBIC)), 0, 1)


def overlay(picture, map_gxg):
    """Returns the picture (PIL, RGB) dimmed to grey, glowing where the map is high.

    The glow has a colour of its own, so that it shows on dark pictures too.
    """
    lit_HxWx1 = heat(map_gxg, picture.size)[..., None]
    color_HxWx3 = np.asarray(picture, np.float32)
    grey_HxWx3 = color_HxWx3.mean(axis=-1, keepdims=True) * UNLIT
    glow_HxWx3 = EMBER + (GLOW - EMBER) * lit_HxWx1
    seen_HxWx3 = color_HxWx3 * 0.55 + glow_HxWx3 * 0.45
    mixed = grey_HxWx3 + (seen_HxWx3 - grey_HxWx3) * lit_HxWx1
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def word_row(picture, reading, *, side, columns, sentence):
    """Returns one image: the picture, one lit copy a word with the word above, row below row.

    picture: PIL, RGB, of any size. reading: jaxvl.evals.reading.Reading. side: pixels of the longer
    side of a cell. columns: cells a line. sentence: whether the whole caption has a cell, too.
    """
    small = _fit(picture, side)
    cells = [("the picture", small, False)]
    if sentence and len(reading.words) > 0:
        cells.append(("whole sentence", overlay(small, reading.maps_Wxgxg.mean(axis=0)), False))
    for word, map_gxg in zip(reading.words, reading.maps_Wxgxg):
        cells.append((word, overlay(small, map_gxg), True))
    lines = [cells[k : k + columns] for k in range(0, len(cells), columns)]
    label = _line_height(_size_of_label(side)) + 4
    width = columns * small.width + (columns - 1) * GAP
    sheet = Image.new("RGB", (width, len(lines) * (label + small.height + GAP) - GAP), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        for column, (text, image, is_word) in enumerate(line):
            x, y = column * (small.width + GAP), row * (label + small.height + GAP)
            font = _font(_size_of_label(side), bold=is_word)
            ink = INK if is_word else FAINT
            draw.text((x, y), _shorten(text, font, small.width), font=font, fill=ink)
            sheet.paste(image, (x, y + label))
    return sheet


def page(title, sections, *, legend):
    """Returns a page (PIL): a title, (heading, image) sections, a legend in plain words."""
    width = max(max(image.width for _, image in sections), 480)
    rows = [("text", line, 22, True, INK) for line in _wrap(title, 22, True, width)]
    rows += [("gap", 8)]
    for heading, image in sections:
        rows += [("text", line, 16, False, INK) for line in _wrap(heading, 16, False, width)]
        rows += [("gap", 6), ("image", image), ("gap", 20)]
    rows += [("text", line, 14, False, FAINT) for line in _wrap(legend, 14, False, width)]
    sheet = Image.new("RGB", (width + 2 * MARGIN, _height(rows) + 2 * MARGIN), BACKGROUND)
    draw, y = ImageDraw.Draw(sheet), MARGIN
    for row in rows:
        if row[0] == "text":
            _, line, size, bold, ink = row
            draw.text((MARGIN, y), line, font=_font(size, bold=bold), fill=ink)
        elif row[0] == "image":
            sheet.paste(row[1], (MARGIN, y))
        y += _height([row])
    return sheet


def save(image, path):
    """Writes a PNG so that a reader sees the old file or the new one, never half. Returns path."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        image.save(temporary, "PNG")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def save_figure(figure, path):
    """Writes a matplotlib Figure as PNG, as `save` does. Returns path."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return save(Image.open(drawn), path)


def _fit(picture, side):
    factor = side / max(picture.size)
    size = tuple(max(1, round(length * factor)) for length in picture.size)
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _height(rows):
    heights = {
        "text": lambda row: _line_height(row[2]),
        "image": lambda row: row[1].height,
        "gap": lambda row: row[1],
    }
    return sum(heights[row[0]](row) for row in rows)


def _size_of_label(side):
    return min(17, max(13, side // 11))


def _line_height(size):
    return round(size * 1.35)


def _wrap(text, size, bold, width):
    font, lines = _font(size, bold=bold), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_shorten(line, font, width) for line in lines]


def _shorten(text, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@functools.lru_cache
def _font(size, *, bold):
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)
