"""Evaluation of a run, in training and afterwards: scores, result files, drawings, tables.

A result file has "step", "split" and "data" beside the scores, whose names have a slash:
`retrieval/i2t_r1`. results.json holds the evaluation of a run on its own split, with its own
evaluators; an evaluation on something else is in results_NAME.json beside it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxvl import evals, files
from jaxvl.data.sources import Source
from jaxvl.errors import UserError
from jaxvl.evals import audit, false_match, occlusion_curves, panel
from jaxvl.evals.tables import change, change_table, table
from jaxvl.training import experiment
from jaxvl.types import Params

RESULTS, START = "results.json", "start.json"
Scores = dict[str, float]


class Before(NamedTuple):
    """Scores to compare an evaluation with."""

    what: str  # "init", a step, a working directory or a file
    scores: Scores


class Evaluation:
    """The evaluators of a run, opened once, and the scores of any parameters of its model."""

    def __init__(self, basis: experiment.Basis, *, source: Source | None) -> None:
        """Opens the evaluators of config.evals.

        source: the split to evaluate on; None where only published benchmarks are evaluated.
        """
        self.basis, self._source = basis, source
        if source is not None:
            experiment.say_notes(basis, source)
        self._evaluators = evals.make_evaluators(
            basis.config,
            model=basis.model,
            source=source,
            tokenizer=basis.tokenizer,
            mesh=basis.mesh,
        )

    def scores(self, params: Params, *, report: Callable | None = None) -> Scores:
        """Returns the scores of parameters. report: as in evals.run_all."""
        return evals.run_all(self._evaluators, params, progress=is_chief(), report=report)

    def draw_panel(self, params: Params, path: Path) -> Path | None:
        """Draws at `path` what each word of some held-out captions refers to, and returns it.

        Returns None where words cannot be explained, or log.panel_images is 0.
        """
        basis = self.basis
        explained = basis.model.fuse or basis.model.look
        if not basis.config.log.panel_images or not explained or self._source is None:
            return None
        files.make_folder(path.parent)
        return panel.draw_panel(
            basis.config,
            model=basis.model,
            params=params,
            source=self._source,
            tokenizer=basis.tokenizer,
            mesh=basis.mesh,
            path=path,
        )


def is_chief() -> bool:
    """Whether this process is the one that prints and writes files."""
    return jax.process_index() == 0


def write_results(
    evaluation: Evaluation,
    params: Params,
    out: Path,
    *,
    step: int,
    before: Before | None = None,
    goodput: Callable[[], float | None] = lambda: None,
) -> Scores:
    """Evaluates parameters and writes the result file `out`. Returns the scores.

    What evaluators find besides goes to folders beside it, as `beside(out, "false_match")`, and the
    curves of evals.occlusion to `beside(out, "occlusion.png")`.
    before: scores to compare with; the file then also has these and the change.
    goodput: of the run, asked at the end.
    """

    def report(name, findings):
        findings.write(beside(out, findings.folder), name)

    scores = evaluation.scores(params, report=report if is_chief() else None)
    if is_chief():
        config = evaluation.basis.config
        about: dict[str, Any] = {
            "step": step,
            "split": config.eval.split,
            "data": experiment.data_name(config),
        }
        if (share := goodput()) is not None:
            about["goodput"] = round(share, 4)
        compared = _compared(scores, before) if before else {}
        files.write_json(out, {**about, **scores, **compared})
        occlusion_curves.draw_curves(scores, beside(out, "occlusion.png"))
    return scores


def _compared(scores, before):
    against = {"what": before.what, **before.scores}
    return {"against": against, "change": change(scores, before.scores)}


def write_start(evaluation: Evaluation, params: Params, directory: Path) -> None:
    """Writes start.json: the scores of the weights that a run starts from."""
    scores = evaluation.scores(params)
    if is_chief():
        files.write_json(directory / START, {"step": 0, **scores})


def panel_path(directory: Path, step: int) -> Path:
    """Returns where a run's drawing of words after `step` lies."""
    return directory / "panels" / f"step_{step:07d}.png"


def beside(out: Path, name: str) -> Path:
    """Returns a path that goes with a result file: x.png of results.json, x_NAME.png of others."""
    of = out.stem.removeprefix("results").strip("_")
    path = out.parent / name
    return path.with_stem(f"{path.stem}_{of}") if of else path


def read_results(path: Path) -> tuple[dict[str, Any], Scores]:
    """Returns (everything, the scores) of a result file. Raises UserError where it is not one."""
    try:
        found = json.loads(path.read_text())
        return found, _scores(found)
    except (OSError, ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is not a JSON file of scores") from None


def _scores(found):
    """Returns the scores among the values of a result file, where nan is a string."""
    scores = {name: value for name, value in found.items() if "/" in name}
    return {name: value if type(value) is int else float(value) for name, value in scores.items()}


def show(out: Path) -> None:
    """Prints a result file, the change where there is one, and where the drawings are.

    The change is the one in the file, or of results.json the change since start.json.
    """
    if not is_chief() or not out.exists():
        return
    found, scores = read_results(out)
    split, data, step = (found.get(name, "?") for name in ("split", "data", "step"))
    print(f"\nscores on {split} of {data} after step {step}\n")
    start = out.parent / START
    if "against" in found:
        before = found["against"]
        print(change_table(scores, _scores(before), title=_title(before["what"])))
    elif out.name == RESULTS and start.exists():
        print(change_table(scores, read_results(start)[1], title="start"))
    else:
        print(table(scores))
    panels = sorted((out.parent / "panels").glob("*.png")) if out.name == RESULTS else []
    if panels:
        print(f"\nwhich region each word refers to: {panels[-1]}")
    for plot in sorted(beside(out, false_match.FOLDER).glob("*.png")):
        print(f"false matches by similarity of the captions: {plot}")
    if any(name.startswith("audit/") for name in scores):
        print(f"heat-maps of each word: {beside(out, audit.FOLDER) / 'words.md'}")
    if any(name.startswith("occlusion/patches_") for name in scores):
        print(f"scores as patches are covered: {beside(out, 'occlusion.png')}")
    print(f"scores as JSON: {out}", flush=True)


def _title(what):
    return f"step {what}" if what.isdigit() else Path(what).name
