"""Evaluators by name: each `make(config, *, scorer, examples)` returns a jaxvl.types.Evaluator.

Results are fractions in [0, 1] under flat names: `retrieval/i2t_r1`, `hard_negatives/accuracy`.
"""

import sys

import jax

from jaxvl.evals import grounding, hard_negatives, retrieval
from jaxvl.evals.examples import make_examples
from jaxvl.evals.scoring import make_scorer

EVALUATORS = {
    "retrieval": retrieval.make,
    "hard_negatives": hard_negatives.make,
    "grounding": grounding.make,
}
ANNOTATIONS = {"hard_negatives": "negatives", "grounding": "mentions"}  # needed of a data set
FUSION = ("grounding",)  # needed of the model: cross-attention


def make_evaluators(config, *, model, source, tokenizer, mesh):
    """Returns {name: Evaluator} of those in config.evals that are not None.

    One for which the data set has no annotations, or the model no fusion encoder, is left out,
    with a line that says so.
    """
    examples = make_examples(config, source=source, tokenizer=tokenizer)
    scorer = make_scorer(config, model=model, mesh=mesh, batch_size=config.eval.batch_size)
    wanted = [name for name in EVALUATORS if config.evals.get(name) is not None]
    evaluators = {}
    for name in wanted:
        missing = _missing(name, examples.records, scorer)
        if not missing:
            evaluators[name] = EVALUATORS[name](config, scorer=scorer, examples=examples)
        elif jax.process_index() == 0:
            print(f"evals.{name} is left out: {source.name} {missing}", file=sys.stderr)
    return evaluators


def _missing(name, records, scorer):
    field = ANNOTATIONS.get(name)
    if field and not any(len(record[field]) for record in records):
        return f"has no {field}"
    if name in FUSION and scorer.word_maps is None:
        return "is evaluated with a model that has no fusion encoder"
    return ""


def run_all(evaluators, params, *, progress=True):
    """Returns the results of all evaluators as one flat dict, `name/metric` -> float."""
    return {
        f"{name}/{metric}": value
        for name, evaluator in evaluators.items()
        for metric, value in evaluator.run(params, progress=progress).items()
    }
