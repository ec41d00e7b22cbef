"""Published benchmarks of compositional understanding: SugarCrepe, ARO, VALSE, Winoground, ...

Letters: R cases, P pictures of a case, C captions of a case, T texts, E embedding.
"""

import functools
import sys
import zlib

import jax
import numpy as np

from jaxvl.errors import UserError, require
from jaxvl.evals import false_match
from jaxvl.evals.compositional import annotations, judging, pictures
from jaxvl.evals.compositional.formats import FORMATS
from jaxvl.evals.compositional.scores import Cases, score
from jaxvl.evals.examples import distinct
from jaxvl.keys import Key
from jaxvl.types import Evaluator, EvaluatorComponent

NAMED = 5  # pictures that a message names


def make(name, config, *, scorer, examples):
    """Returns the Evaluator of a benchmark. evals.NAME: `annotations`, published files; `images`.

    By the match logit, and as `itc_...` by cosine similarity; a model without fusion has only the
    cosine, without the prefix. Beside it `chance`; `blind_...`: the same model by its cosine with
    the mean of all pictures; `shorter_...`: the shorter caption wins. Cases whose picture cannot be
    read are left out, counted and named. Raises UserError for files of another shape, and where no
    picture can be read.
    """
    table, keys = FORMATS[name], config.evals[name]
    reading = annotations.read(name, table, keys.annotations)
    chief = jax.process_index() == 0
    usable, left_out = _with_pictures(name, reading.cases, keys.images, progress=chief)
    _say(name, [*reading.notes, *_about(left_out, keys.images, reading.cases, usable)])
    crops, cases, tokens, texts = _indexed(usable, table, examples.tokenize)
    counts = {
        "rows": len(usable),
        "rows_not_valid": reading.rows - len(reading.cases),
        "rows_without_picture": len(reading.cases) - len(usable),
        # The tokenizer, or the longest caption it takes, leaves no difference: never right.
        "rows_read_alike": int(_alike(cases).sum()),
    }

    def read_pictures(picture_I):
        return pictures.batches(
            keys.images,
            [crops[i] for i in picture_I],
            config.data,
            batch_size=config.eval.batch_size,
        )

    def findings(params, progress=False):
        scores = score(
            scorer, params, cases, read_pictures=read_pictures, tokens=tokens, progress=progress
        )
        main_RxPxC = scores.cosine_RxPxC if scores.match_RxPxC is None else scores.match_RxPxC
        results = _results(table, usable, cases, scores, _brevity(texts, cases))
        contrasts = _contrasts(table, usable, main_RxPxC, cases.true_count)
        results |= false_match.by_quintile(contrasts)
        return {**results, **counts}, false_match.Findings(contrasts, left_out)

    return Evaluator(lambda params, progress=False: findings(params, progress)[0], findings)


def component(name: str) -> EvaluatorComponent:
    """Returns the evaluator of the benchmark of that name in FORMATS; off by default."""
    return EvaluatorComponent(
        functools.partial(make, name),
        keys={
            "evals": {name: Key(None, "None, or dict(annotations=FOLDER_OR_FILE, images=FOLDER)")}
        },
        check=functools.partial(_check, name),
    )


def _check(name, config):
    keys = config.evals[name]
    named = hasattr(keys, "keys") and set(keys) == {"annotations", "images"}
    require(
        named and all(keys.values()),
        f"evals.{name} needs dict(annotations=FOLDER_OR_FILE, images=FOLDER)",
    )


BENCHMARKS = {name: component(name) for name in FORMATS}


def _with_pictures(name, cases, folder, *, progress):
    """Returns (cases whose pictures can all be read, {picture: why not})."""
    crops = {(picture, case.box) for case in cases for picture in case.pictures}
    bad = pictures.look_through(folder, sorted(crops, key=str), progress=progress)
    usable = [
        case for case in cases if not any((picture, case.box) in bad for picture in case.pictures)
    ]
    reasons = {picture: reason for (picture, _), reason in bad.items()}
    if not usable:
        some = ", ".join(f"{picture} ({why})" for picture, why in list(reasons.items())[:NAMED])
        raise UserError(f"{name}: no picture can be read in {folder}: {some}")
    return usable, reasons


def _about(left_out, folder, cases, usable):
    if not left_out:
        return []
    some = ", ".join(f"{picture} ({why})" for picture, why in list(left_out.items())[:NAMED])
    more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    return [
        f"{len(cases) - len(usable)} of {len(cases)} rows are left out, their pictures cannot be "
        f"read in {folder}: {some}{more}"
    ]


def _say(name, lines):
    if jax.process_index() == 0:
        for line in lines:
            print(f"evals.{name}: {line}", file=sys.stderr)


def _indexed(usable, table, tokenize):
    """Returns (crops, Cases, Tokens of distinct texts, captions [R][C])."""
    crop_of = {}
    picture_RxP = np.array(
        [
            [crop_of.setdefault((picture, case.box), len(crop_of)) for picture in case.pictures]
            for case in usable
        ]
    )
    texts = [[*case.true, *case.false] for case in usable]
    tokens, place = distinct(tokenize([text for row in texts for text in row]))
    cases = Cases(picture_RxP, place.reshape(len(usable), -1), len(table.true))
    return list(crop_of), cases, tokens, texts


def _alike(cases):
    """Returns bool [R]: the model reads a true caption and a false one as the same."""
    true_RxC, false_RxC = np.split(cases.text_RxC, [cases.true_count], axis=1)
    return (true_RxC[:, :, None] == false_RxC[:, None]).any(axis=(1, 2))


def _brevity(texts, cases):
    """Returns scores [R, P, C] that prefer the shorter caption; of equals one by its checksum."""
    brevity_RxC = np.array(
        [[-len(text) + zlib.crc32(text.encode()) / 2**32 for text in row] for row in texts]
    )
    return np.repeat(brevity_RxC[:, None], cases.picture_RxP.shape[1], axis=1)


def _results(table, usable, cases, scores, brevity_RxPxC):
    """Returns {metric: share} of every way to score and every measure of the benchmark."""
    ways = {"itc": scores.cosine_RxPxC} if scores.match_RxPxC is not None else {}
    main_RxPxC = scores.cosine_RxPxC if scores.match_RxPxC is None else scores.match_RxPxC
    results = {}
    for prefix, scores_RxPxC in {"": main_RxPxC, **ways}.items():
        results |= _judged(table, usable, scores_RxPxC, cases.true_count, prefix)
    if table.paraphrase:
        right_R = _paraphrase_nearest(scores.text_TxE, cases)
        results |= _means(table, usable, right_R, "", "tot")
    for prefix, scores_RxPxC in {"blind": scores.blind_RxPxC, "shorter": brevity_RxPxC}.items():
        found = _judged(table, usable, scores_RxPxC, cases.true_count, prefix)
        quoted = f"{prefix}_{table.headline}"
        results |= {quoted: found[quoted]} if quoted in found else {}
    chance = {_name("", measure, "chance"): share for measure, share in table.chance.items()}
    return {**results, **chance}


def _judged(table, usable, scores_RxPxC, true_count, prefix):
    results = {}
    for measure, judge in table.judges.items():
        results |= _means(table, usable, judge(scores_RxPxC, true_count), prefix, measure)
    return results


def _means(table, usable, right_R, prefix, measure):
    """Returns {metric: share}: subsets, their means and the share of all rows, or just that."""
    shares = judging.by_name(right_R, [case.subset for case in usable])
    share = float(right_R.mean())
    if len(table.files) == 1:
        found = {"" if measure else "accuracy": share}
    else:
        found = {**shares, **table.means(shares), "micro": share}
    if table.group:
        groups = [case.group for case in usable]
        mean, count = judging.macro(right_R, groups, least=table.least)
        found |= {"macro": mean} if count else {}
        found |= {} if prefix else {"groups": count}
    return {_name(prefix, measure, key): value for key, value in found.items()}


def _name(*parts):
    return "_".join(part for part in parts if part)


def _paraphrase_nearest(text_TxE, cases):
    """SugarCrepe++'s text-only task, bool [R]: cos(c1, c2) > cos(c1, negative)."""
    first_RxE, second_RxE, false_RxE = (text_TxE[text_R] for text_R in cases.text_RxC.T)
    return (first_RxE * second_RxE).sum(axis=1) > (first_RxE * false_RxE).sum(axis=1)


def _contrasts(table, usable, scores_RxPxC, true_count):
    """Returns false_match.Contrasts: every true caption of a picture against every false one."""
    true, false, kind, wrong = [], [], [], []
    for case, scores_PxC in zip(usable, scores_RxPxC):
        captions = [*case.true, *case.false]
        for picture, scores_C in enumerate(scores_PxC):
            own, other = range(true_count), range(true_count, len(captions))
            if picture == 1:  # of two pictures each has the other's caption for a false one
                own, other = other, own
            for t in own:
                for f in other:
                    true.append(captions[t])
                    false.append(captions[f])
                    kind.append(case.kinds[max(t, f) - true_count])
                    wrong.append(not scores_C[t] > scores_C[f])
    return false_match.Contrasts(true, false, np.array(kind), np.array(wrong))
