"""Evaluates a model on a published benchmark.

Letters: R cases, J images of a case, C captions of a case, I images, T texts, E embedding.
"""

import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvl import copies
from jaxvl.data.text.tokenizer import Tokens
from jaxvl.errors import UserError, printable
from jaxvl.evals import false_match
from jaxvl.evals.compositional import annotations, images, judging
from jaxvl.evals.compositional.annotations import Case
from jaxvl.evals.compositional.benchmark import Benchmark
from jaxvl.evals.compositional.scores import Cases, Scores, score
from jaxvl.evals.examples import Examples, distinct
from jaxvl.evals.feeding import image_batches
from jaxvl.evals.scoring import Scorer
from jaxvl.types import Evaluator

NAMED = 5  # images that a message names


def make(
    benchmark: Benchmark, config: ConfigDict, *, scorer: Scorer, examples: Examples
) -> Evaluator:
    """Returns the Evaluator of a benchmark. evals.NAME: `annotations`, published files; `images`.

    Shares are by the match logit, and as `itc_...` by cosine similarity; a model without a fusion
    encoder has only the cosine, without the prefix. With them come `chance`; `blind_...`, the same
    model by its cosine with the mean of all image embeddings; and `shorter_...`, which always takes
    the shorter caption. Cases whose image cannot be read are left out, counted and named.
    Raises UserError for files of another shape, and where no image can be read.
    """
    name, keys = benchmark.name, config.evals[benchmark.name]
    found = annotations.read(benchmark, copies.local(keys.annotations))
    folder = copies.local(keys.images)
    chief = jax.process_index() == 0
    usable, left_out = _with_images(name, found.cases, folder, progress=chief)
    _say(name, [*found.notes, *_about(left_out, keys.images, found.cases, usable)])
    crops, cases, tokens, texts = _indexed(usable, benchmark, examples.tokenize)
    counts = {
        "rows": len(usable),
        "rows_not_valid": found.rows - len(found.cases),
        "rows_without_image": len(found.cases) - len(usable),
        # True and false caption have the same tokens, once truncated: never right.
        "rows_read_alike": int(_alike(cases).sum()),
    }

    def batches(image_I):
        def pixels(index):
            return images.pixels(folder, crops[image_I[index]], config.data)

        return image_batches(pixels, len(image_I), config.data, batch_size=config.eval.batch_size)

    def findings(params, progress=False):
        scores = score(scorer, params, cases, batches=batches, tokens=tokens, progress=progress)
        main_RxJxC = scores.cosine_RxJxC if scores.match_RxJxC is None else scores.match_RxJxC
        results = _results(benchmark, usable, cases, scores, _brevity(texts, cases))
        contrasts = _contrasts(usable, main_RxJxC, cases.true_count)
        results |= false_match.by_quintile(contrasts)
        return {**results, **counts}, false_match.Findings(contrasts, left_out)

    return Evaluator(lambda params, progress=False: findings(params, progress)[0], findings)


def _with_images(
    name: str, cases: list[Case], folder: Path, *, progress: bool
) -> tuple[list[Case], dict[str, str]]:
    """Returns (cases whose images can all be read, {image: why not})."""
    crops = {(image, case.box) for case in cases for image in case.images}
    bad = images.check(folder, sorted(crops, key=str), progress=progress)
    usable = [case for case in cases if not any((image, case.box) in bad for image in case.images)]
    reasons = {image: reason for (image, _), reason in bad.items()}
    if not usable:
        raise UserError(f"{name}: no image can be read in {folder}: {_some(reasons)}")
    return usable, reasons


def _some(reasons: Mapping[str, str]) -> str:
    some = ", ".join(f"{image} ({why})" for image, why in list(reasons.items())[:NAMED])
    return f"{some} and {len(reasons) - NAMED} more" if len(reasons) > NAMED else some


def _about(
    left_out: Mapping[str, str], folder: str, cases: list[Case], usable: list[Case]
) -> list[str]:
    if not left_out:
        return []
    return [
        f"{len(cases) - len(usable)} of {len(cases)} rows are left out, their images cannot be "
        f"read in {folder}: {_some(left_out)}"
    ]


def _say(name: str, lines: list[str]) -> None:
    if jax.process_index() == 0:
        for line in lines:
            print(f"evals.{name}: {printable(line)}", file=sys.stderr)


def _indexed(
    usable: list[Case], benchmark: Benchmark, tokenize: Callable[[Sequence[str]], Tokens]
) -> tuple[list[images.Crop], Cases, Tokens, list[list[str]]]:
    """Returns (crops, Cases, Tokens of distinct texts, captions [R][C])."""
    crop_of: dict[images.Crop, int] = {}
    image_RxJ = np.array(
        [
            [crop_of.setdefault((image, case.box), len(crop_of)) for image in case.images]
            for case in usable
        ]
    )
    texts = [[*case.true, *case.false] for case in usable]
    tokens, place = distinct(tokenize([text for row in texts for text in row]))
    cases = Cases(image_RxJ, place.reshape(len(usable), -1), len(benchmark.true))
    return list(crop_of), cases, tokens, texts


def _alike(cases: Cases) -> np.ndarray:
    """Returns bool [R]: a true caption and a false one have the same tokens."""
    true_RxC, false_RxC = np.split(cases.text_RxC, [cases.true_count], axis=1)
    return (true_RxC[:, :, None] == false_RxC[:, None]).any(axis=(1, 2))


def _brevity(texts: list[list[str]], cases: Cases) -> np.ndarray:
    """Returns scores [R, J, C] that prefer the shorter caption; of equals one by its checksum."""
    brevity_RxC = np.array(
        [[-len(text) + zlib.crc32(text.encode()) / 2**32 for text in row] for row in texts]
    )
    return np.repeat(brevity_RxC[:, None], cases.image_RxJ.shape[1], axis=1)


def _results(
    benchmark: Benchmark,
    usable: list[Case],
    cases: Cases,
    scores: Scores,
    brevity_RxJxC: np.ndarray,
) -> dict[str, float]:
    """Returns {metric: share} of every way to score and every measure of the benchmark."""
    ways = {"": scores.cosine_RxJxC}
    if scores.match_RxJxC is not None:
        ways = {"": scores.match_RxJxC, "itc": scores.cosine_RxJxC}
    results = {}
    for prefix, scores_RxJxC in ways.items():
        results |= _judged(benchmark, usable, scores_RxJxC, cases.true_count, prefix)
    if benchmark.paraphrase:
        right_R = _paraphrase_nearest(scores.text_TxE, cases)
        results |= _means(benchmark, usable, right_R, "", "tot")
    for prefix, scores_RxJxC in {"blind": scores.blind_RxJxC, "shorter": brevity_RxJxC}.items():
        found = _judged(benchmark, usable, scores_RxJxC, cases.true_count, prefix)
        quoted = f"{prefix}_{benchmark.headline}"
        results |= {quoted: found[quoted]} if quoted in found else {}
    chance = {_name("", measure, "chance"): share for measure, share in benchmark.chance.items()}
    return {**results, **chance}


def _judged(
    benchmark: Benchmark,
    usable: list[Case],
    scores_RxJxC: np.ndarray,
    true_count: int,
    prefix: str,
) -> dict[str, float]:
    results = {}
    for measure, judge in benchmark.judges.items():
        results |= _means(benchmark, usable, judge(scores_RxJxC, true_count), prefix, measure)
    return results


def _means(
    benchmark: Benchmark, usable: list[Case], right_R: np.ndarray, prefix: str, measure: str
) -> dict[str, float]:
    """Returns {metric: share}: subsets, their means and the share of all rows, or just that."""
    shares = judging.by_name(right_R, [case.subset for case in usable])
    share = float(right_R.mean())
    found: dict[str, float] = {"" if measure else "accuracy": share}
    if len(benchmark.files) > 1:
        found = {**shares, **benchmark.means(shares), "micro": share}
    if benchmark.group:
        groups = [case.group for case in usable]
        mean, count = judging.macro(right_R, groups, least=benchmark.least)
        found |= {"macro": mean} if count else {}
        found |= {} if prefix else {"groups": count}
    return {_name(prefix, measure, key): value for key, value in found.items()}


def _name(*parts: str) -> str:
    return "_".join(part for part in parts if part)


def _paraphrase_nearest(text_TxE: np.ndarray, cases: Cases) -> np.ndarray:
    """Returns SugarCrepe++'s text-only task, bool [R]: cos(c1, c2) > cos(c1, negative)."""
    first_RxE, second_RxE, false_RxE = (text_TxE[text_R] for text_R in cases.text_RxC.T)
    return (first_RxE * second_RxE).sum(axis=1) > (first_RxE * false_RxE).sum(axis=1)


def _contrasts(
    usable: list[Case], scores_RxJxC: np.ndarray, true_count: int
) -> false_match.Contrasts:
    """Returns the Contrasts: every true caption of an image against every false one."""
    true, false, kind, wrong = [], [], [], []
    for case, scores_JxC in zip(usable, scores_RxJxC):
        captions = [*case.true, *case.false]
        for image, scores_C in enumerate(scores_JxC):
            own, other = range(true_count), range(true_count, len(captions))
            if image == 1:  # of two images each has the other's caption for a false one
                own, other = other, own
            for t in own:
                for f in other:
                    true.append(captions[t])
                    false.append(captions[f])
                    kind.append(case.kinds[max(t, f) - true_count])
                    wrong.append(not scores_C[t] > scores_C[f])
    return false_match.Contrasts(true, false, np.array(kind), np.array(wrong))
