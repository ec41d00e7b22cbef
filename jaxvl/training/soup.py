"""Mixtures of the weights of two runs (Wortsman et al., CVPR 2022), and the scores of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxvl import checkpoint, files, paths
from jaxvl.errors import UserError
from jaxvl.training import experiment, finished
from jaxvl.types import Params
from jaxvl.workdir import flat

FREE_KEYS = ("init", "scan_layers", "remat", "product_dtype", "activation_dtype")  # of config.model
Row = dict[str, float]  # "alpha" and the scores


def soup(
    a: Path | str,
    b: Path | str,
    config: ConfigDict,
    *,
    alphas: Sequence[float],
    out: Path | str,
    other_data: bool = False,
) -> list[Row]:
    """Evaluates each mixture (1 - alpha) A + alpha B, and returns a row for each.

    a, b: working directories. config: that of run A, which says on what mixtures are evaluated.
    other_data: it may be another data set than that of run A.
    Writes soup.json, soup.md and soup.png to the folder `out`. Raises UserError where the two are
    not runs of one model and tokenizer; then nothing is written.
    """
    if Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out} is not a folder")
    config.evals.grounding = None  # retrieval is weighed against composition
    basis = experiment.open_basis(config)
    check_same_model(a, b, basis)
    opened = finished.open_evaluation(basis, directory=None if other_data else paths.of(a))
    first, second = (
        checkpoint.restore_params(workdir, model=basis.model, mesh=basis.mesh)[0]
        for workdir in (a, b)
    )
    rows: list[Row] = []
    for alpha in alphas:
        scores = opened.scores(mix(first, second, alpha))
        _check_evaluators(a, scores)
        rows.append({"alpha": alpha, **scores})
        shown = "  ".join(f"{name} {100 * scores[name]:.1f} %" for name in quoted(scores))
        print(f"alpha {alpha:g}  {shown}", flush=True)
    _write(rows, Path(out), a=a, b=b)
    return rows


def check_same_model(a: Path | str, b: Path | str, basis: experiment.Basis) -> None:
    """Raises UserError naming a key of the model that differs in run B, or its tokenizer.

    basis: of run A.
    """
    other = experiment.open_basis(experiment.load_run(b))
    mine, theirs = flat(basis.config.model), flat(other.config.model)
    for key in mine:
        if key not in FREE_KEYS and mine[key] != theirs[key]:
            raise UserError(
                f"--b {b}: model.{key}={theirs[key]!r}, but {mine[key]!r} in {a}; only weights of "
                "one model can be mixed"
            )
    if basis.tokenizer.to_str() != other.tokenizer.to_str():
        raise UserError(f"--b {b} has another tokenizer than {a}: its weights cannot be mixed")


def mix(first: Params, second: Params, alpha: float) -> Params:
    """Returns (1 - alpha) first + alpha second; at 0 and 1 it is exactly one of the two."""
    if alpha in (0, 1):
        return second if alpha else first
    return jax.tree.map(lambda x, y: (1 - alpha) * x + alpha * y, first, second)


def quoted(scores: Mapping[str, float]) -> list[str]:
    """Returns the names of the scores to show: mean recall, and the main one of each benchmark."""
    from jaxvl.evals import benchmarks

    names = ["retrieval/mean_recall", "hard_negatives/accuracy"]
    names += [f"{name}/{one.headline}" for name, one in benchmarks().items()]
    return [name for name in names if name in scores]


def _check_evaluators(a, scores):
    if len(quoted(scores)) < 2 or "retrieval/mean_recall" not in scores:
        raise UserError(
            f"--a {a}: its evals give {', '.join(quoted(scores)) or 'nothing'}; a mixture needs "
            "retrieval and hard_negatives or a benchmark"
        )


def _write(rows, out, *, a, b):
    out.mkdir(parents=True, exist_ok=True)
    names = quoted(rows[0])
    files.write_json(out / "soup.json", {"a": str(a), "b": str(b), "mixtures": rows})
    files.write_text(out / "soup.md", markdown(rows, names, a=a, b=b))
    _plot(rows, names, out / "soup.png", a=a, b=b)
    print(f"\ntable: {out / 'soup.md'}\nplot: {out / 'soup.png'}\nJSON: {out / 'soup.json'}")


def markdown(rows: Sequence[Row], names: Sequence[str], *, a: Path | str, b: Path | str) -> str:
    """Returns a Markdown table with a line for each alpha."""
    lines = [f"alpha 0: {a}; alpha 1: {b}", "", f"| alpha | {' | '.join(names)} |"]
    lines.append(f"|---|{'---|' * len(names)}")
    for row in rows:
        shares = " | ".join(f"{100 * row[name]:.1f} %" for name in names)
        lines.append(f"| {row['alpha']:g} | {shares} |")
    return "\n".join(lines) + "\n"


def _plot(rows, names, path, *, a, b):
    """Draws composition over retrieval: one line for each benchmark, one point for each alpha."""
    from matplotlib.figure import Figure

    from jaxvl.evals import draw

    recall, *others = names
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes: Any = figure.subplots()
    x = [100 * row[recall] for row in rows]
    for name in others:
        y = [100 * row[name] for row in rows]
        axes.plot(x, y, marker="o", label=name)
        for row, *place in zip(rows, x, y):
            label = f"{row['alpha']:g}"
            axes.annotate(label, place, textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set(xlabel=f"{recall}, %", ylabel="composition, %")
    axes.set_title(f"alpha 0: {Path(a).name}   alpha 1: {Path(b).name}", fontsize=10)
    axes.legend(fontsize=8)
    draw.save_figure(figure, path)
