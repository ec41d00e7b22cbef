"""README.md of an exported folder: a model card that people and the Hugging Face Hub can read.

All numbers come from the run; only the user can tell the licence, so that is left to be filled in.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from ml_collections import ConfigDict

from jaxvl.data import store
from jaxvl.errors import UserError
from jaxvl.export.check import Report
from jaxvl.export.types import Format, Run


def card(run: Run, *, form: Format, report: Report, left_out: Sequence[str] = ()) -> str:
    """Returns the text. left_out: our paths of parameters that the folder does not contain."""
    sections = [
        f"---\n{_metadata(run, form).to_yaml()}\n---",
        f"# {_title(run, form)}",
        "Licence: **to be filled in by whoever publishes these weights**, here and in the first "
        "lines of this file. The licences of the images and captions that the model was trained on "
        "may restrict the choice.",
        f"## How to use it\n\n```python\n{form.card.use}\n```",
        f"## Training\n\n{_training(run)}",
        f"## Scores\n\n{_scores(run)}",
        f"## Inputs\n\n{_inputs(run, form)}",
        f"## Limits\n\n{_limits(run, form, left_out)}",
        "## Equality with the trained model\n\nThe files of this folder were loaded in PyTorch. "
        "These are the largest differences from the model in JAX (`export_report.json`):\n\n"
        f"{_differences(report)}",
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(run: Run, form: Format) -> ModelCardData:
    results = _results(run)
    return ModelCardData(
        language="en",
        license="unknown",
        library_name=form.card.library,
        pipeline_tag=form.card.pipeline or None,
        tags=["jaxvl", run.config.method, *form.card.tags],
        model_name=_title(run, form) if results else None,
        eval_results=results or None,
    )


def _results(run: Run) -> list[EvalResult]:
    """Returns the scores as the Hub lists them; those that are not numbers are left out."""
    names = [Path(directory).name for directory in _directories(run.config.data)]
    return [
        EvalResult(
            task_type="image-text-retrieval",
            dataset_type=re.sub(r"\W+", "-", "-".join(names).lower()).strip("-") or "unknown",
            dataset_name=", ".join(names) or "unknown",
            dataset_split=_split(run),
            metric_type=name,
            metric_name=name,
            metric_value=value,
        )
        for name, value in _named_scores(run).items()
        if isinstance(value, (int, float))
    ]


def _title(run: Run, form: Format) -> str:
    image = run.config.model.image
    tower = f"ViT {image.layers} x {image.width}, patch {image.patch_size}"
    how = f"trained by jaxvl with {run.config.method}" if run.step else "written by jaxvl"
    return f"{form.card.title} ({tower}), {how}"


def _training(run: Run) -> str:
    config, start = run.config, ", ".join(f"`{name}`" for name in run.start)
    if run.step == 0:
        origin = f" They were read from {start}." if start else ""
        return f"This run did not train its weights.{origin}"
    weights = {
        "ema": "running mean of the parameters (EMA)",
        "online": "parameters of this step",
    }[run.weights]
    lines = [
        f"- data: {', '.join(map(_data_set, _directories(config.data))) or 'not recorded'}",
        f"- steps: {run.step} of {config.total_steps}, {config.batch_size} pairs each",
        f"- method: `{config.method}`; starting weights: {start or 'random'}; seed {config.seed}",
        f"- these weights: {weights}",
    ]
    return "\n".join(lines)


def _directories(data: ConfigDict) -> list[str]:
    if data.mixture:
        return [directory for directory, _ in data.mixture]
    directory = data.name if data.source == "tfds" else data.dir
    return [directory] if directory else []


def _data_set(directory: str) -> str:
    name = Path(directory).name
    try:
        meta = store.read_meta(directory)
    except UserError:
        return f"`{name}`"
    counts = ", ".join(f"{split} {count:,}" for split, count in meta["splits"].items())
    return f"`{name}` ({meta['kind']}; images: {counts})"


def _scores(run: Run) -> str:
    scores = _named_scores(run)
    if not scores:
        return "This run was not evaluated."
    step = run.scores.get("step", "?")
    note = "" if step == run.step else f" These weights are of step {run.step}."
    head = f"On the split `{_split(run)}` after step {step}, as fractions of 1.{note}"
    return _table(
        [head, "", "| score | value |", "|---|---|"],
        [(f"`{name}`", _number(value)) for name, value in scores.items()],
    )


def _named_scores(run: Run) -> dict[str, Any]:
    """Returns the scores of results.json; the names of its other entries have no slash."""
    return {name: value for name, value in run.scores.items() if "/" in name}


def _split(run: Run) -> str:
    return run.scores.get("split", run.config.eval.split)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(head: list[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def _inputs(run: Run, form: Format) -> str:
    config, numbers = run.config, run.preprocessing
    size, how = numbers["size"], f"{numbers['interpolation']}, antialiased as by Pillow"
    seen = {
        "none": f"the whole image resized to {size} x {size} pixels ({how})",
        "center": f"resized until the shorter side has {size} pixels ({how}); the model sees the "
        "square in the middle",
    }[numbers["crop"]]
    lines = [
        f"- images: `{numbers['name']}`: {seen}, values divided by 255, mean {numbers['mean']}, "
        f"deviation {numbers['std']}",
        f"- texts: truncated to {config.data.max_tokens} tokens; the vocabulary has "
        f"{config.model.text.vocabulary_size}",
        *form.card.inputs(config),
    ]
    return "\n".join(lines)


def _limits(run: Run, form: Format, left_out: Sequence[str]) -> str:
    lost = "aspect ratio" if run.config.data.eval_crop == "none" else "borders"
    lines = [
        "- The model has the errors and biases of its training images and captions; it was not "
        "checked for these.",
        f"- Images are seen at {run.config.data.image_size} pixels and lose their {lost}.",
        "- A similarity or a match probability ranks candidates; it is not a calibrated "
        "probability.",
        "- Not for identifying people, and not for decisions about them.",
        *form.card.limits(run.config),
    ]
    if left_out:
        lines.append(
            f"- Not in this folder: {', '.join(f'`{path}`' for path in left_out)}, which the "
            "contrastive loss learned. Embeddings do not depend on it."
        )
    return "\n".join(lines)


def _differences(report: Report) -> str:
    rows = [(name, f"{d.absolute:.1e}", f"{d.relative:.1e}") for name, d in report.items()]
    return _table(["| quantity | absolute | relative |", "|---|---|---|"], rows)
