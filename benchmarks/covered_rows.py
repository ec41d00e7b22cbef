"""Rows of a table beside each other as more of each image is covered: matching and recall.

  jaxvl sweep --table softmask
  python benchmarks/covered_rows.py --runs runs/softmask --out covered.png

Reads the result files of a table whose runs have evals.occlusion. A line is the mean of the runs of
a row, the band its standard deviation. The last line printed is a JSON object: the normalised area
under each curve, in percent.
"""

import argparse
import json
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from jaxvl.evals import draw

SHARES = (0, 10, 25, 50, 75)
CURVES = {"matching": "accuracy of matching, %", "mean_recall": "mean recall, %"}


def main() -> None:
    """Command line: see the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", required=True, type=Path, help="the folder --out of jaxvl sweep")
    parser.add_argument("--split", default="test", help="that was evaluated")
    parser.add_argument("--rows", nargs="*", help="folders of rows; without it all of them")
    parser.add_argument("--out", required=True, type=Path, help="draws a plot into this PNG file")
    flags = parser.parse_args()
    found = read(flags)
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    for axes, (curve, label) in zip(figure.subplots(1, 2), CURVES.items()):
        for row, runs in found.items():
            points = [[100 * run[f"occlusion/patches_{u}/{curve}"] for run in runs] for u in SHARES]
            mean = [statistics.mean(values) for values in points]
            spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in points]
            (line,) = axes.plot(SHARES, mean, marker="o", label=row)
            low, high = ([m + sign * s for m, s in zip(mean, spread)] for sign in (-1, 1))
            axes.fill_between(SHARES, low, high, color=line.get_color(), alpha=0.15)
        axes.set(ylim=(0, 100), xlabel="patches covered, %", ylabel=label)
    axes.legend()
    draw.save_figure(figure, flags.out)
    areas = {
        row: {curve: area(runs, f"occlusion/patches/{curve}_auc") for curve in CURVES}
        for row, runs in found.items()
    }
    print(json.dumps(areas))


def read(flags: argparse.Namespace) -> dict[str, list[dict]]:
    """Returns the scores of all runs of each row."""
    rows = flags.rows or sorted(path.name for path in flags.runs.iterdir() if path.is_dir())
    found = {}
    for row in rows:
        files = sorted((flags.runs / row).glob(f"seed_*/results_{flags.split}.json"))
        if files:
            found[row.replace("_", " ")] = [json.loads(file.read_text()) for file in files]
    if not found:
        raise SystemExit(f"error: {flags.runs} has no results_{flags.split}.json of any row")
    return found


def area(runs: list[dict], name: str) -> dict[str, float]:
    """Returns mean and standard deviation of a score, in percent."""
    values = [100 * run[name] for run in runs]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.mean(values), 1), "deviation": round(spread, 1)}


if __name__ == "__main__":
    main()
