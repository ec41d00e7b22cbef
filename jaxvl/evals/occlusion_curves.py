"""The curves of `jaxvl.evals.occlusion` over the share of covered patches: their areas, a drawing.

Letters: U shares.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxvl.evals import draw, retrieval

Points = Mapping[float, Mapping[str, float]]  # {share: metrics}, shares ascending from 0
# Each curve is the mean of these metrics.
CURVES = {
    **{f"r{k}": (f"i2t_r{k}", f"t2i_r{k}") for k in retrieval.CUTS},
    "mean_recall": ("mean_recall",),
    "matching": ("matching",),
    "hard_negatives": ("hard_negatives",),
}


def curves(points: Points) -> dict[str, np.ndarray]:
    """Returns {name: values [U]} of CURVES. points: {share: metrics}; a curve needs all of them."""
    return {
        name: np.array([np.mean([point[part] for part in parts]) for point in points.values()])
        for name, parts in CURVES.items()
        if points and all(part in point for point in points.values() for part in parts)
    }


def areas(points: Points) -> dict[str, float]:
    """Returns {"r1_auc": ..., ...}: the mean height of a curve, with its height at share 0 as 1.

    The mean is the area by the trapezoid rule, divided by the range of the shares. r1 is the mean
    of both ways. A curve that starts at 0 has none.
    points: {share: metrics}, shares ascending from 0.
    """
    shares = list(points)
    return {
        f"{name}_auc": float(np.trapezoid(value_U / value_U[0], shares) / shares[-1])
        for name, value_U in curves(points).items()
        if value_U[0] > 0
    }


def draw_curves(scores: Mapping[str, float], path: Path | str) -> Path | None:
    """Draws the curves over the share of covered patches as a PNG at `path`, and returns it.

    scores: of an evaluation, `occlusion/patches_25/i2t_r1`, ...; returns None where it has none.
    """
    from matplotlib.figure import Figure

    points: dict[float, dict[str, float]] = {}
    for name, value in scores.items():
        if found := re.fullmatch(r"occlusion/patches_([\d.]+)/(\w+)", name):
            points.setdefault(float(found[1]), {})[found[2]] = value
    if not points:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, value_U in curves(points).items():
        axes.plot(list(points), 100 * value_U, marker="o", label=name)
    axes.set(ylim=(0, 100), xlabel="patches covered, %", ylabel="%")
    axes.legend()
    return draw.save_figure(figure, path)
