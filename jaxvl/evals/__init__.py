"""Evaluators by name: each `make(config, *, scorer, examples)` returns a jaxvl.types.Evaluator.

Results are fractions in [0, 1] under flat names: `retrieval/i2t_r1`, `hard_negatives/accuracy`.
"""

import sys

import jax

from jaxvl.evals import grounding, hard_negatives, retrieval
from jaxvl.evals.compositional import BENCHMARKS
from jaxvl.evals.examples import make_examples
from jaxvl.evals.scoring import make_scorer
from jaxvl.types import EvaluatorComponent

EVALUATORS: dict[str, EvaluatorComponent] = {
    "retrieval": retrieval.RETRIEVAL,
    "hard_negatives": hard_negatives.HARD_NEGATIVES,
    "grounding": grounding.GROUNDING,
    **BENCHMARKS,
}


def make_evaluators(config, *, model, source, tokenizer, mesh):
    """Returns {name: Evaluator} of those in config.evals that are not None.

    source: the held-out split, or None: then only benchmarks are run. An evaluator for which the
    data set has no annotations, or the model no fusion encoder, is left out, and a line says so.
    """
    examples = make_examples(config, source=source, tokenizer=tokenizer)
    where = source.name if source else "no data set"
    scorer = make_scorer(config, model=model, mesh=mesh, batch_size=config.eval.batch_size)
    wanted = [name for name in EVALUATORS if config.evals.get(name) is not None]
    evaluators = {}
    for name in wanted:
        missing = _missing(name, examples.records, scorer)
        if not missing:
            evaluators[name] = EVALUATORS[name].make(config, scorer=scorer, examples=examples)
        elif jax.process_index() == 0:
            print(f"evals.{name} is left out: {where} {missing}", file=sys.stderr)
    return evaluators


def _missing(name, records, scorer):
    if name not in BENCHMARKS and not records:
        return "has no images"
    return EVALUATORS[name].missing(records, scorer)


def run_all(evaluators, params, *, progress=True, report=None):
    """Returns the results of all evaluators as one flat dict, `name/metric` -> float.

    report: called as (name, false_match.Findings) for those that have false captions, or None.
    """
    results = {}
    for name, evaluator in evaluators.items():
        if report and evaluator.findings:
            found, findings = evaluator.findings(params, progress=progress)
            report(name, findings)
        else:
            found = evaluator.run(params, progress=progress)
        results |= {f"{name}/{metric}": value for metric, value in found.items()}
    return results
