"""False matches: how often a false caption is preferred, by its similarity to the true one.

To someone who must discriminate look-alike products this says more than an accuracy: quintile 5 is
the fifth of the rows whose two captions differ least.
Letters: R rows (an image, a true and a false caption of it), K kinds of negatives, Q quintiles.
"""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvl import files, paths
from jaxvl.data.text.clean import clean_caption
from jaxvl.evals import draw

QUINTILES = 5
FOLDER = "false_match"


class Contrasts(NamedTuple):
    """True and false captions, the kind of each false one, and whether the model preferred it."""

    true: Sequence[str]
    false: Sequence[str]
    kind_R: np.ndarray
    wrong_R: np.ndarray  # the true caption did not score above the false one


class Findings(NamedTuple):
    """What an evaluation reports beside its scores; left_out: {image: why it was not used}."""

    contrasts: Contrasts
    left_out: Mapping[str, str]
    folder: str = FOLDER

    def write(self, directory: Path | str, name: str) -> Path:
        """Writes DIRECTORY/NAME.md and NAME.png. Returns the path of the plot."""
        files.make_folder(directory)
        directory, rates = paths.of(directory), tabulate(self.contrasts)
        files.write_text(directory / f"{name}.md", markdown(rates, self.left_out, name))
        return _plot(rates, name, directory / f"{name}.png")


class Rates(NamedTuple):
    """Rates and numbers of rows, by kind and quintile; the last column and row 0 are of all."""

    names: list[str]
    rate_KxQ: np.ndarray  # nan where there are no rows
    rows_KxQ: np.ndarray
    edges: np.ndarray  # similarities between which the quintiles lie


def similarity(first: str, second: str) -> float:
    """Returns the cosine of two texts' counts of letter triples, 0 to 1; 1: the same triples.

    It depends on no model, so the rates of different models and steps are of the same rows.
    """
    a, b = _triples(first), _triples(second)
    product = sum(count * b[triple] for triple, count in a.items())
    norms = sum(c * c for c in a.values()) * sum(c * c for c in b.values())
    return product / norms**0.5 if norms else 0.0


def _triples(text):
    text = f"  {clean_caption(text, max_words=None)} "
    return collections.Counter(text[i : i + 3] for i in range(len(text) - 2))


def tabulate(contrasts: Contrasts) -> Rates:
    """Returns the Rates. Rows of one similarity share a quintile, so quintiles differ in size."""
    alike_R = np.array([similarity(*pair) for pair in zip(contrasts.true, contrasts.false)])
    alike_R = alike_R.round(9)  # sums in another order are not another similarity
    edges = np.quantile(alike_R, np.arange(1, QUINTILES) / QUINTILES)
    quintile_R = np.searchsorted(edges, alike_R, side="left")
    names = sorted(set(contrasts.kind_R.tolist()))
    in_kind_KxR = np.stack([np.ones(len(alike_R), bool), *(contrasts.kind_R == n for n in names)])
    in_quintile_QxR = np.stack(
        [*(quintile_R == q for q in range(QUINTILES)), np.ones(len(alike_R), bool)]
    )
    cells_KxQxR = in_kind_KxR[:, None] & in_quintile_QxR[None]
    rows_KxQ = cells_KxQxR.sum(axis=-1)
    wrong_KxQ = (cells_KxQxR & contrasts.wrong_R[None, None]).sum(axis=-1)
    rate_KxQ = np.where(rows_KxQ > 0, wrong_KxQ / np.maximum(rows_KxQ, 1), np.nan)
    return Rates(["all", *names], rate_KxQ, rows_KxQ, edges)


def by_quintile(contrasts: Contrasts) -> dict[str, float]:
    """Returns {"false_match_q1": rate, ...} of the quintiles that have rows."""
    rates = tabulate(contrasts)
    return {
        f"false_match_q{q + 1}": float(rates.rate_KxQ[0, q])
        for q in range(QUINTILES)
        if rates.rows_KxQ[0, q]
    }


def markdown(rates: Rates, left_out: Mapping[str, str], name: str) -> str:
    """Returns the rates as a Markdown table, and a list of the images that were left out."""
    columns = [*(f"quintile {q + 1}" for q in range(QUINTILES)), "all"]
    lines = [
        f"# False matches: {name}",
        "",
        "Share of false captions that score at least as high as the true one (number of rows).",
        "Quintile 5 has the pairs of captions that are most similar; the quintiles end at a "
        f"similarity of {', '.join(f'{edge:.3f}' for edge in rates.edges)}.",
        "",
        f"| negatives | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for kind, rate_Q, rows_Q in zip(rates.names, rates.rate_KxQ, rates.rows_KxQ):
        cells = [_cell(rate, rows) for rate, rows in zip(rate_Q, rows_Q)]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    if left_out:
        lines += ["", "## Left out", ""]
        lines += [f"- `{image}`: {reason}" for image, reason in left_out.items()]
    return "\n".join(lines) + "\n"


def _cell(rate, rows):
    return f"{100 * rate:.1f} % ({rows})" if rows else "–"


def _plot(rates, name, path):
    """Draws a line over the quintiles and a grid with a row for each kind. Returns path."""
    from matplotlib.figure import Figure

    kinds = len(rates.names)
    figure = Figure(figsize=(11, max(3.6, 1.6 + 0.34 * kinds)), layout="constrained")
    line, cells = figure.subplots(1, 2, width_ratios=(2, 3))
    labels = [str(q + 1) for q in range(QUINTILES)]
    line.plot(labels, 100 * rates.rate_KxQ[0, :QUINTILES], marker="o", color="#be230a")
    line.axhline(50, color="#888888", linestyle=":")
    line.annotate("chance", (0, 50), textcoords="offset points", xytext=(0, 4), color="#666666")
    line.set(ylim=(0, 100), ylabel="false matches, %")
    line.set_xlabel("quintile of similarity (5: most similar)")
    cells.imshow(100 * rates.rate_KxQ, vmin=0, vmax=100, cmap="YlOrRd", aspect="auto")
    cells.set_xticks(range(QUINTILES + 1), [*labels, "all"])
    cells.set_yticks(range(kinds), rates.names)
    for k, q in np.argwhere(rates.rows_KxQ > 0):
        rate = 100 * rates.rate_KxQ[k, q]
        color = "white" if rate > 65 else "black"
        text = f"{rate:.0f} ({rates.rows_KxQ[k, q]})"
        cells.text(q, k, text, ha="center", va="center", fontsize=8, color=color)
    cells.set_xlabel("quintile: % (rows)")
    figure.suptitle(f"False matches: {name}")
    return draw.save_figure(figure, path)
