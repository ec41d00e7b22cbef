"""Evaluators by name: each `make(config, *, scorer, examples)` returns a jaxvl.types.Evaluator.

Results are fractions in [0, 1] under flat names: `retrieval/i2t_r1`, `hard_negatives/accuracy`.
"""

import sys

import jax

from jaxvl.evals import retrieval
from jaxvl.evals.examples import make_examples
from jaxvl.evals.scoring import make_scorer

EVALUATORS = {
    "retrieval": retrieval.make,
}
ANNOTATIONS = {}  # what an evaluator needs of a data set


def make_evaluators(config, *, model, source, tokenizer, mesh):
    """Returns {name: Evaluator} of those in config.evals that are not None.

    One whose annotations the source does not have is left out, with a line that says so.
    """
    examples = make_examples(config, source=source, tokenizer=tokenizer)
    scorer = make_scorer(model, mesh=mesh, batch_size=config.eval.batch_size)
    evaluators = {}
    for name, make in EVALUATORS.items():
        if name not in config.evals or config.evals[name] is None:
            continue
        field = ANNOTATIONS.get(name)
        if field and not any(len(record[field]) for record in examples.records):
            if jax.process_index() == 0:
                print(f"{source.name} has no {field}: no {name}", file=sys.stderr)
            continue
        evaluators[name] = make(config, scorer=scorer, examples=examples)
    return evaluators


def run_all(evaluators, params, *, progress=True):
    """Returns the results of all evaluators as one flat dict, `name/metric` -> float."""
    return {
        f"{name}/{metric}": value
        for name, evaluator in evaluators.items()
        for metric, value in evaluator.run(params, progress=progress).items()
    }
