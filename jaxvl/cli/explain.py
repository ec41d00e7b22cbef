"""Show which regions of an image each word of a sentence refers to, by a trained model.

jaxvl explain --workdir runs/demo --image photo.jpg --text "a red cube" --out out.png
"""

import argparse
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvl import paths
from jaxvl.cli import common
from jaxvl.errors import printable

if TYPE_CHECKING:
    import numpy as np

    from jaxvl.evals.trained import Explanation

SIDE = 230  # pixels of an image
COLUMNS = 5
LEGEND = (
    "Bright: the regions that were relevant to this word. Grey: the others. “whole sentence” is "
    "the mean of all words."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        found = explain(flags.workdir, image=flags.image, text=flags.text, out=flags.out)
        print("\n".join(map(printable, summary(*found))))
        print(f"picture: {printable(str(flags.out))}")


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("explain", __doc__, buckets={"--workdir": paths.WRITTEN})
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of a training run")
    parser.add_argument("--image", required=True, metavar="FILE", help="JPEG, PNG, WebP, ...")
    parser.add_argument("--text", required=True, metavar="TEXT", help="a sentence about it")
    parser.add_argument("--out", required=True, metavar="FILE", help="the PNG to write")
    return parser


def explain(
    workdir: Path | str, *, image: Path | str, text: str, out: Path | str
) -> "tuple[Explanation, list[str]]":
    """Returns (Explanation, words that were truncated), and draws a heat-map for each word.

    Raises UserError for an image that cannot be read, an empty text, and a directory that is no
    run; then nothing is written.
    """
    from jaxvl import api
    from jaxvl.evals import draw
    from jaxvl.evals.inputs import open_image

    common.check_file("--out", out)
    opened = open_image(Path(image))
    model = api.load(workdir)
    encoded = model.encode_text(text)
    truncated = encoded.texts.truncated[0]
    (explanation,) = model.explain(model.encode_image(opened, states=True), encoded)
    cells = draw.word_row(opened, explanation.heatmaps, side=SIDE, columns=COLUMNS, sentence=True)
    heading = f"Do they belong together? The model's {judgement(explanation)}."
    if truncated:
        heading += f" {_note(truncated)}"
    draw.save(draw.page(f"“{' '.join(text.split())}”", [(heading, cells)], legend=LEGEND), out)
    return explanation, truncated


def summary(explanation: "Explanation", truncated: Sequence[str]) -> list[str]:
    """Returns lines for the terminal: the model's judgement, and the region of each word.

    truncated: the words that the model did not read.
    """
    lines = [judgement(explanation)]
    if truncated:
        lines.append(f"note: {_note(truncated)}")
    width = max(columns_of(one.word) for one in explanation.heatmaps)
    strongest = max(float(one.relevance.max()) for one in explanation.heatmaps)
    for word, map_gxg in explanation.heatmaps:
        share = float(map_gxg.max()) / strongest if strongest > 0 else 0.0
        padding = " " * (width - columns_of(word))
        lines.append(f"  {word}{padding}  {where(map_gxg):<13}  {'#' * round(10 * share)}")
    lines.append("  (region of the highest relevance; bars: how high, relative to the other words)")
    return lines


def judgement(explanation: "Explanation") -> str:
    """Returns the probability of a match in words, or the cosine of a model that has none."""
    if explanation.probability is None:
        return f"cosine: {explanation.similarity:.3f}"
    return f"match probability: {100 * explanation.probability:.1f}%"


def columns_of(word: str) -> int:
    """Returns the columns that a word takes on a terminal: two for a letter of East Asia."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in word)
    return len(word) + wide - sum(unicodedata.category(letter) == "Mn" for letter in word)


def where(map_gxg: "np.ndarray") -> str:
    """Returns the place of the map's peak: "upper left", "centre"; "nowhere" if it has none."""
    if not map_gxg.max() > map_gxg.min():
        return "nowhere"
    side = len(map_gxg)
    row, column = divmod(int(map_gxg.argmax()), side)
    vertical = ("upper", "", "lower")[3 * row // side]
    horizontal = ("left", "", "right")[3 * column // side]
    return f"{vertical} {horizontal}".strip() or "centre"


def _note(truncated: Sequence[str]) -> str:
    return f"The text is too long for this model; it did not read: {' '.join(truncated)}"
