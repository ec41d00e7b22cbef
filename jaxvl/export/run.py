"""The export of a run: everything that happens between a checkpoint and a folder for PyTorch."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl import checkpoint, paths, preprocessing
from jaxvl.errors import UserError
from jaxvl.export import FORMATS, check, model_card, pytorch
from jaxvl.export.types import Format, Run
from jaxvl.files import written_whole
from jaxvl.interop import load, names
from jaxvl.interop.kinds import epsilons_of
from jaxvl.types import Model, Params

OMITTABLE = "contrastive/"  # parameters of a contrastive loss: embeddings do not depend on them


def open_run(
    workdir: Path | str,
    *,
    config: ConfigDict,
    model: Model,
    mesh: Mesh,
    tokenizer: Tokenizer,
    weights: str | None = None,
) -> tuple[Run, Params]:
    """Returns the Run of the newest checkpoint, and its parameters as NumPy arrays.

    config: of the run, with the size of the vocabulary filled in; model, mesh, tokenizer: of this
    configuration. weights: "ema", "online", or None for the running mean where there is one. Raises
    UserError where there is no checkpoint, or no running mean that was asked for.
    """
    params, step = checkpoint.restore_params(
        workdir, model=model, mesh=mesh, use_ema=weights != "online"
    )
    has_ema = (paths.of(workdir) / "checkpoints" / str(step) / "ema").is_dir()
    if weights == "ema" and not has_ema:
        raise UserError(f"--weights ema: {workdir} kept no running mean (optim.ema_decay was 0)")
    run = Run(
        config=_with_epsilons(config),
        tokenizer=tokenizer,
        preprocessing=preprocessing.numbers_of(config),
        step=step,
        weights=weights or ("ema" if has_ema else "online"),
        start=_start(paths.of(workdir), config),
        scores=_read_json(paths.of(workdir) / "results.json"),
    )
    return run, jax.device_get(params)


def _with_epsilons(config: ConfigDict) -> ConfigDict:
    config = config.copy_and_resolve_references().unlock()
    for tower, epsilon in epsilons_of(config.model.name).items():
        config.model[tower].norm_epsilon = config.model[tower].norm_epsilon or epsilon
    return config


def _start(workdir: Path, config: ConfigDict) -> list[str]:
    paths = load.paths_of(config.model.init)
    if not paths:  # of a run, or written by `convert`, which leaves model.init empty
        loaded = _read_json(workdir / "init.json").get("loaded", [])
        paths = sorted({path for _, path in loaded})
    return [Path(path).name for path in paths]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def export(
    run: Run, params: Params, out: Path | str, *, name: str, options: Sequence[str] = ()
) -> check.Report:
    """Writes the folder `out` and prints how far PyTorch is from JAX; returns these differences.

    name: of the format. options: of `Format.options`. Raises UserError for a run that the format
    cannot express, for an `out` that exists or cannot be written, and where PyTorch fails or
    differs by more than `check.TOLERANCE`; then nothing is left behind.
    """
    form = _format_for(run.config, name)
    _check_libraries(form, name, options)
    with written_whole(Path(out)) as folder:
        return _write(folder, run, params, form=form, name=name, options=options)


def _format_for(config: ConfigDict, name: str) -> Format:
    if name not in FORMATS:
        raise UserError(f"--format {name} is not one of {', '.join(FORMATS)}")
    form, model = FORMATS[name], config.model.name
    if model != form.model:
        fitting = [other for other, one in FORMATS.items() if one.model == model]
        raise UserError(
            f"--format {name} is for {form.model}; this run is {model}, "
            f"{'for which there is ' + ', '.join(fitting) if fitting else 'which has no format'}"
        )
    form.check(config)
    return form


def _check_libraries(form: Format, name: str, options: Sequence[str]) -> None:
    needed, extra = ["torch"], "torch"
    for option in options:
        if option not in form.options:
            fitting = [other for other, one in FORMATS.items() if option in one.options]
            raise UserError(f"--{option} goes with --format {', '.join(fitting)}, not {name}")
        needed += form.options[option].libraries
        extra = form.options[option].extra
    missing = [library for library in needed if importlib.util.find_spec(library) is None]
    if missing:
        raise UserError(f"export needs {', '.join(missing)}: pip install 'jaxvl[{extra}]'")


def _write(
    folder: Path, run: Run, params: Params, *, form: Format, name: str, options: Sequence[str]
) -> check.Report:
    tensors, left_out = _tensors(run.config, params, form)
    if left_out:
        print(f"{name} has no place for {', '.join(left_out)}, which only the loss uses: left out")
    functions = [form.write, form.read, *(form.options[o].write_and_read for o in options)]
    theirs = pytorch.answers(folder, run, tensors, functions)
    report = check.compare(check.in_jax(run, params), theirs)
    print(check.table(report))
    failed = check.failed(report)
    if failed:
        raise UserError(f"PyTorch and JAX differ in {', '.join(failed)}; nothing was exported")
    _write_report(folder / "export_report.json", report, run, name, left_out)
    card = model_card.card(run, form=form, report=report, left_out=left_out)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return report


def _tensors(
    config: ConfigDict, params: Params, form: Format
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns ({their name: array}, our paths that the format has no place for)."""
    layout = form.layout(config)
    arrays, known = names.flatten(params), {rule.ours for rule in layout.rules}
    left_out = [path for path in arrays if path.startswith(OMITTABLE) and path not in known]
    kept = {path: array for path, array in arrays.items() if path not in left_out}
    return names.to_torch(kept, layout), left_out


def _write_report(
    path: Path, report: check.Report, run: Run, name: str, left_out: Sequence[str]
) -> None:
    told = {
        "format": name,
        "step": run.step,
        "weights": run.weights,
        "preprocessing": run.preprocessing["name"],
        "tolerance": check.TOLERANCE,
        "left_out": list(left_out),
        "differences": {quantity: d._asdict() for quantity, d in report.items()},
    }
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
