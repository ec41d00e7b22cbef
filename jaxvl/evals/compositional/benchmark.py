"""What a published benchmark is: its files, their fields, how a row is judged.

A benchmark is one file here and one line in jaxvl.evals.EVALUATORS.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.errors import require
from jaxvl.evals.compositional import judging
from jaxvl.keys import Key
from jaxvl.types import EvaluatorComponent

Row = Any  # of a published file; a flat one is a dict
Judge = Callable[[np.ndarray, int], np.ndarray]


class Benchmark(NamedTuple):
    """How a benchmark is published and scored. Letters: R rows, J images, C captions of a row.

    name: its key under evals. files: {subset: file below the annotations folder}; a name with *
      stands for many subsets, each named by its path. published: {subset: rows}, where known.
    images: the fields that name a row's images, put into image_name. true, false: the fields of
      captions. box: whether the image is cropped to bbox_x, bbox_y, bbox_w, bbox_h first.
    unfold: (published row) -> flat rows. keep: (flat row) -> whether it counts.
    shuffled: the false captions are shuffles of the true one (see `shuffles`).
    group: (flat row) -> name of the group that the macro average is over; least: rows a group must
      have.
    judges: {measure: (scores_RxJxC, true captions) -> bool [R]}; chance: {measure: of a random
      scorer}. paraphrase: whether two true captions must also be nearest to each other.
    means: {subset: share} -> named means. headline: the metric to quote.
    """

    name: str
    files: Mapping[str, str]
    images: tuple[str, ...]
    true: tuple[str, ...]
    false: tuple[str, ...]
    published: Mapping[str, int] = {}
    image_name: str = "{}"
    box: bool = False
    unfold: Callable[[Row], list[Row]] = lambda row: [row]
    keep: Callable[[Row], bool] = lambda row: True
    shuffled: bool = False
    group: Callable[[Row], str] | None = None
    least: int = 1
    judges: Mapping[str, Judge] = {"": judging.all_above}
    chance: Mapping[str, float] = {"": 1 / 2}
    paraphrase: bool = False
    means: Callable[[Mapping[str, float]], dict[str, float]] = judging.mean_of_all
    headline: str = "mean"


def component(benchmark: Benchmark) -> EvaluatorComponent:
    """Returns the evaluator of a benchmark, which is off by default."""

    def make(config, *, scorer, examples):
        from jaxvl.evals.compositional import evaluator

        return evaluator.make(benchmark, config, scorer=scorer, examples=examples)

    meaning = "None, or dict(annotations=FOLDER_OR_FILE, images=FOLDER)"
    return EvaluatorComponent(
        make,
        keys={"evals": {benchmark.name: Key(None, meaning)}},
        check=functools.partial(_check, benchmark.name),
        benchmark=benchmark,
    )


def _check(name: str, config: ConfigDict) -> None:
    keys = config.evals[name]
    named = hasattr(keys, "keys") and set(keys) == {"annotations", "images"}
    require(
        named and all(keys.values()),
        f"evals.{name} needs dict(annotations=FOLDER_OR_FILE, images=FOLDER)",
    )
