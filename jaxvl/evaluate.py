"""Evaluate a trained model on a split of its data set, or of another one.

  python -m jaxvl.evaluate --workdir runs/demo --split test
"""

import argparse
import os
import sys
from pathlib import Path

from jaxvl.errors import UserError


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        evaluate(flags.workdir, split=flags.split, data=flags.data, out=flags.out)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m jaxvl.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of a training run")
    parser.add_argument("--split", help="of the data set (the run's eval.split)")
    parser.add_argument(
        "--data", metavar="DIR", help="another prepared data set (the one it was trained on)"
    )
    parser.add_argument("--out", metavar="FILE", help="JSON (WORKDIR/eval_SPLIT.json)")
    return parser


def evaluate(workdir, *, split, data, out):
    """Evaluates the newest checkpoint; prints a table and writes JSON. Returns the scores.

    split, data, out: None for what the run has and for WORKDIR/eval_SPLIT.json.
    Raises UserError for what is not there; then nothing is written.
    """
    from jaxvl import checkpoint, evals, experiment
    from jaxvl.metrics import table
    from jaxvl.workdir import load_config, write_json

    config = load_config(workdir)
    config.mesh.update(data=-1, fsdp=1)  # any machine will do, not the one it was trained on
    config.eval.split = split or config.eval.split
    if data:
        use_data(config, data)
    out = Path(out or Path(workdir) / f"eval_{config.eval.split}.json")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UserError(f"--out {out} is a folder, or lies in none")
    basis = experiment.open_basis(config)
    source = experiment.open_held_out(basis)
    params, step = checkpoint.restore_params(workdir, model=basis.model, mesh=basis.mesh)
    evaluators = evals.make_evaluators(
        basis.config, model=basis.model, source=source, tokenizer=basis.tokenizer, mesh=basis.mesh
    )
    scores = evals.run_all(evaluators, params, progress=True)
    print(f"{config.eval.split} of {config.data.dir}, after step {step}\n")
    print(table(scores))
    write_json(out, {"step": step, "split": config.eval.split, **scores})
    print(f"\nscores as JSON: {out}")
    return scores


def use_data(config, directory):
    """Points a run's configuration at another prepared data set, read with the run's tokenizer."""
    mixture = config.data.mixture
    trained_on = mixture[0][0] if mixture and not config.data.dir else config.data.dir
    config.data.tokenizer = config.data.tokenizer or trained_on
    config.data.name = ""
    config.data.dir = directory


if __name__ == "__main__":
    main()
