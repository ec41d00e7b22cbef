"""Write a trained model for PyTorch, and prove that it is the same model.

  jaxvl export --workdir runs/mine --format torch --out exports/mine

  torch      SoftMask and ALBEF: a folder that needs plain PyTorch and nothing else
  albef      the same in the layout of ALBEF's own checkpoints
  hf         CLIP for transformers' CLIPModel and CLIPProcessor
  open_clip  CLIP for open_clip

The folder appears only when PyTorch, loading it, agrees with JAX to 1e-4.
"""

import json
from pathlib import Path

from jaxvl.cli import common
from jaxvl.errors import UserError

FORMATS = ("torch", "albef", "hf", "open_clip")
WEIGHTS = ("ema", "online")


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        export(
            flags.workdir, name=flags.format, out=flags.out, weights=flags.weights, onnx=flags.onnx
        )
    print(f"{flags.format}: {flags.out}")


def _parser():
    parser = common.parser("export", __doc__)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of a training run")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--out", required=True, metavar="DIR", help="must not exist, or be empty")
    parser.add_argument(
        "--weights", choices=WEIGHTS, help="running mean or last step (the mean where there is one)"
    )
    parser.add_argument("--onnx", action="store_true", help="with --format torch: ONNX beside it")
    return parser


def export(workdir, *, name, out, weights=None, onnx=False):
    """Writes the folder `out` and prints how far PyTorch is from JAX; returns the report.

    Raises UserError for a run that has no such weights or does not go into the format, for an
    `out` that is there or cannot be written, and where PyTorch disagrees; then nothing is left.
    """
    from jaxvl.files import written_whole

    if onnx and name != "torch":
        raise UserError("--onnx goes with --format torch")
    _check_libraries(onnx)
    exported = open_run(workdir, weights=weights)
    _check_format(exported, name)
    with written_whole(Path(out)) as folder:
        return write(folder, exported, name=name, onnx=onnx)


def write(folder, exported, *, name, onnx):
    """Writes into an empty folder, compares, and adds the report and the model card."""
    from jaxvl.export import check, formats, model_card

    formats.FORMATS[name].write(folder, exported)
    answers = check.in_jax(exported)
    report = check.compare(answers, _in_pytorch(folder, exported, name=name, onnx=onnx))
    print(check.table(report))
    failed = check.failed(report)
    if failed:
        raise UserError(f"PyTorch and JAX differ in {', '.join(failed)}; nothing was exported")
    _write_report(folder / "export_report.json", report, exported, name)
    card = model_card.card(exported, name=name, report=report)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return report


def _in_pytorch(folder, exported, *, name, onnx):
    from jaxvl.export import read

    try:
        found = read.READERS[name](folder, exported)
    except (KeyError, RuntimeError) as error:  # as load_state_dict and from_pretrained raise
        raise UserError(f"PyTorch cannot load what was written as {name}: {error}") from error
    if onnx:
        from jaxvl.export import onnx

        try:
            found |= onnx.write_and_read(folder)
        except Exception as error:  # exporter and runtime have exceptions of their own
            raise UserError(f"ONNX failed: {type(error).__name__}: {error}") from error
    return found


def open_run(workdir, *, weights):
    """Returns the Exported of the newest checkpoint. weights: of WEIGHTS; None: what is there.

    Raises UserError where there is no checkpoint, or no running mean that was asked for.
    """
    import jax

    from jaxvl import checkpoint
    from jaxvl.export.formats import Exported
    from jaxvl.training import experiment

    basis = experiment.open_basis(experiment.load_run(workdir))
    params, step = checkpoint.restore_params(
        workdir, model=basis.model, mesh=basis.mesh, use_ema=weights != "online"
    )
    has_ema = (Path(workdir) / "checkpoints" / str(step) / "ema").is_dir()
    if weights == "ema" and not has_ema:
        raise UserError(f"--weights ema: {workdir} kept no running mean (optim.ema_decay was 0)")
    return Exported(
        config=basis.config,
        params=jax.device_get(params),
        tokenizer=basis.tokenizer,
        step=step,
        weights=weights or ("ema" if has_ema else "online"),
        scores=_scores(Path(workdir) / "results.json"),
    )


def _scores(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def _check_format(exported, name):
    from jaxvl.export.formats import FORMATS as WRITERS

    model, wanted = exported.config.model.name, WRITERS[name].model
    if model != wanted:
        fitting = ", ".join(other for other, form in WRITERS.items() if form.model == model)
        raise UserError(f"--format {name} is for {wanted}; this run is {model}: {fitting}")


def _check_libraries(onnx):
    import importlib.util

    needed = ["torch", *(("onnx", "onnxscript", "onnxruntime") if onnx else ())]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extra = "onnx" if onnx else "torch"
        raise UserError(f"export needs {', '.join(missing)}: pip install 'jaxvl[{extra}]'")


def _write_report(path, report, exported, name):
    from jaxvl import preprocessing
    from jaxvl.export.check import TOLERANCE

    told = {
        "format": name,
        "step": exported.step,
        "weights": exported.weights,
        "preprocessing": preprocessing.name_of(exported.config),
        "tolerance": TOLERANCE,
        "differences": {quantity: d._asdict() for quantity, d in report.items()},
    }
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
