"""Evaluators by name: each `make(config, *, scorer, examples)` returns a jaxvl.types.Evaluator.

Results are fractions in [0, 1] under flat names: `retrieval/i2t_r1`, `hard_negatives/accuracy`.
Importing this package imports neither jax nor TensorFlow: command lines name its evaluators.
"""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from jaxvl.evals import audit, grounding, hard_negatives, occlusion, retrieval
from jaxvl.evals.compositional import aro, bla, sugarcrepe, valse, vl_checklist, winoground
from jaxvl.types import Evaluator, EvaluatorComponent, Model, Params

if TYPE_CHECKING:
    from typing import Any

    from jax.sharding import Mesh
    from tokenizers import Tokenizer

    from jaxvl.data.sources import Source
    from jaxvl.evals.compositional.benchmark import Benchmark

EVALUATORS: dict[str, EvaluatorComponent] = {
    "retrieval": retrieval.RETRIEVAL,
    "hard_negatives": hard_negatives.HARD_NEGATIVES,
    "grounding": grounding.GROUNDING,
    "occlusion": occlusion.OCCLUSION,
    "audit": audit.AUDIT,
    "sugarcrepe": sugarcrepe.SUGARCREPE,
    "sugarcrepe_pp": sugarcrepe.SUGARCREPE_PP,
    "aro_relation": aro.ARO_RELATION,
    "aro_attribution": aro.ARO_ATTRIBUTION,
    "aro_order": aro.ARO_ORDER,
    "valse": valse.VALSE,
    "winoground": winoground.WINOGROUND,
    "bla": bla.BLA,
    "vl_checklist": vl_checklist.VL_CHECKLIST,
}


def benchmarks() -> "dict[str, Benchmark]":
    """Returns the evaluators that read the files of a published benchmark, by name."""
    return {name: one.benchmark for name, one in EVALUATORS.items() if one.benchmark}


def make_evaluators(
    config: ConfigDict,
    *,
    model: Model,
    source: "Source | None",
    tokenizer: "Tokenizer",
    mesh: "Mesh",
) -> dict[str, Evaluator]:
    """Returns {name: Evaluator} of those in config.evals that are not None.

    source: the held-out split; None: only benchmarks are run. An evaluator that the data set has no
    annotations for, or that needs a fusion encoder the model has not, is left out, and a line on
    stderr says so.
    """
    import jax

    from jaxvl.evals.examples import make_examples
    from jaxvl.evals.scoring import make_scorer

    examples = make_examples(config, source=source, tokenizer=tokenizer)
    where = source.name if source else "no data set"
    scorer = make_scorer(config, model=model, mesh=mesh, batch_size=config.eval.batch_size)
    wanted = [name for name in EVALUATORS if config.evals.get(name) is not None]
    evaluators = {}
    for name in wanted:
        missing = _missing(EVALUATORS[name], examples.records, scorer)
        if not missing:
            evaluators[name] = EVALUATORS[name].make(config, scorer=scorer, examples=examples)
        elif jax.process_index() == 0:
            print(f"evals.{name} is left out: {where} {missing}", file=sys.stderr)
    return evaluators


def _missing(component, records, scorer):
    if not component.benchmark and not records:
        return "has no images"
    return component.missing(records, scorer)


def run_all(
    evaluators: Mapping[str, Evaluator],
    params: Params,
    *,
    progress: bool = True,
    report: "Callable[[str, Any], None] | None" = None,
) -> dict[str, float]:
    """Returns the results of all evaluators as one flat dict, `name/metric` -> float.

    report: called as (name, findings) for those that find more than scores, or None.
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
