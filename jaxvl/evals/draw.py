"""Draws heat-maps: the image once for each word, lit where the word's relevance is high.

Letters: g patches along a side, H W pixels.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from jaxvl import paths
from jaxvl.evals.fonts import font_of
from jaxvl.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxvl.evals.trained import Heatmap

Rgb = tuple[int, int, int]
BACKGROUND, INK, FAINT = (255, 255, 255), (25, 25, 30), (120, 120, 128)
EMBER, GLOW = np.array([190.0, 35.0, 10.0]), np.array([255.0, 232.0, 110.0])  # weak, strong light
GAP, MARGIN = 10, 24
UNLIT = 0.4  # brightness where the relevance is low


def heat(map_gxg: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns float32 [H, W] in [0, 1]: the map, scaled from its least to its greatest value.

    size: (W, H). A map of one value everywhere gives zeros.
    """
    low, high = float(map_gxg.min()), float(map_gxg.max())
    if not high > low:
        return np.zeros(size[::-1], np.float32)
    scaled = Image.fromarray(((map_gxg - low) / (high - low)).astype(np.float32))
    return np.clip(np.asarray(scaled.resize(size, Image.Resampling.BICUBIC)), 0, 1)


def overlay(image: Image.Image, map_gxg: np.ndarray) -> Image.Image:
    """Returns the RGB image dimmed to grey, glowing where the map is high.

    The glow has a colour of its own, so that it shows on dark images too.
    """
    lit_HxWx1 = heat(map_gxg, image.size)[..., None]
    color_HxWx3 = np.asarray(image, np.float32)
    grey_HxWx3 = color_HxWx3.mean(axis=-1, keepdims=True) * UNLIT
    glow_HxWx3 = EMBER + (GLOW - EMBER) * lit_HxWx1
    seen_HxWx3 = color_HxWx3 * 0.55 + glow_HxWx3 * 0.45
    mixed = grey_HxWx3 + (seen_HxWx3 - grey_HxWx3) * lit_HxWx1
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def word_row(
    image: Image.Image,
    heatmaps: Sequence["Heatmap"],
    *,
    side: int,
    columns: int,
    sentence: bool,
) -> Image.Image:
    """Returns the image and one lit copy of it for each word, under the word, in lines.

    side: pixels of the longer side of a cell. columns: cells in a line. sentence: whether the mean
    of all words has a cell too.
    """
    small = _fit(image, side)
    cells = [("the image", small, False)]
    if sentence and heatmaps:
        mean_gxg = np.mean([one.relevance for one in heatmaps], axis=0)
        cells.append(("whole sentence", overlay(small, mean_gxg), False))
    cells += [(one.word, overlay(small, one.relevance), True) for one in heatmaps]
    lines = [cells[k : k + columns] for k in range(0, len(cells), columns)]
    label = _line_height(_size_of_label(side)) + 4
    width = columns * small.width + (columns - 1) * GAP
    sheet = Image.new("RGB", (width, len(lines) * (label + small.height + GAP) - GAP), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        for column, (text, cell, is_word) in enumerate(line):
            x, y = column * (small.width + GAP), row * (label + small.height + GAP)
            font = font_of(text, _size_of_label(side), bold=is_word)
            ink = INK if is_word else FAINT
            draw.text((x, y), _shorten(text, font, small.width), font=font, fill=ink)
            sheet.paste(cell, (x, y + label))
    return sheet


def page(title: str, sections: Sequence[tuple[str, Image.Image]], *, legend: str) -> Image.Image:
    """Returns a page: a title, (heading, drawing) sections, and a legend in plain words."""
    width = max(max(drawing.width for _, drawing in sections), 480)
    pieces = [*_text(title, 22, True, INK, width), 8]
    for heading, drawing in sections:
        pieces += [*_text(heading, 16, False, INK, width), 6, drawing, 20]
    pieces += _text(legend, 14, False, FAINT, width)
    height = sum(piece if isinstance(piece, int) else piece.height for piece in pieces)
    sheet = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), BACKGROUND)
    y = MARGIN
    for piece in pieces:
        if isinstance(piece, int):  # pixels of empty space
            y += piece
        else:
            sheet.paste(piece, (MARGIN, y))
            y += piece.height
    return sheet


def _text(text: str, size: int, bold: bool, ink: Rgb, width: int) -> list[Image.Image]:
    """Returns the lines of a text, drawn."""
    lines = []
    for line in _wrap(text, size, bold, width):
        drawn = Image.new("RGB", (width, _line_height(size)), BACKGROUND)
        ImageDraw.Draw(drawn).text((0, 0), line, font=font_of(line, size, bold=bold), fill=ink)
        lines.append(drawn)
    return lines


def save(image: Image.Image, path: Path | str) -> Path:
    """Writes a PNG so that a reader sees the old file or the new one, never half. Returns path."""
    drawn = io.BytesIO()
    image.save(drawn, "PNG")
    write_bytes(path, drawn.getvalue())
    return paths.of(path)


def save_figure(figure: "Figure", path: Path | str) -> Path:
    """Writes a matplotlib Figure as PNG, as `save` does. Returns path."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    write_bytes(path, drawn.getvalue())
    return paths.of(path)


def _fit(image: Image.Image, side: int) -> Image.Image:
    factor = side / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _size_of_label(side):
    return min(17, max(13, side // 11))


def _line_height(size):
    return round(size * 1.35)


def _wrap(text, size, bold, width):
    font, lines = font_of(text, size, bold=bold), [""]
    for word in text.split():
        # A line may end behind any letter of a script without blanks.
        for part in [word] if word.isascii() or font.getlength(word) <= width else word:
            blank = " " if part == word else ""
            longer = f"{lines[-1]}{blank}{part}".strip()
            if lines[-1] and font.getlength(longer) > width:
                lines.append(part)
            else:
                lines[-1] = longer
    return [_shorten(line, font, width) for line in lines]


def _shorten(text, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
