"""Missing parts: what retrieval, matching and hard negatives lose as parts of images are covered.

Three ways: "patches", a random share of the patches; "object", the box of an object that a caption
names; "heatmap", as many patches where the model's own heat-map of that word is highest.

Letters: I images, J some of them, P pairs of an image and a caption, M patches, N image
tokens, D width, E embedding, L text tokens.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.errors import require
from jaxvl.evals import covering, hard_negatives, retrieval
from jaxvl.evals.covering import Cover, Drawn
from jaxvl.evals.examples import Examples
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.evals.occlusion_curves import areas
from jaxvl.keys import Key
from jaxvl.types import MATCH, Evaluator, EvaluatorComponent, Params

WAYS = ("patches", "object", "heatmap")
DEFAULTS = {"ways": WAYS, "shares": (0.0, 0.1, 0.25, 0.5, 0.75)}


class Encoded(NamedTuple):
    """What the evaluators get in place of parameters: images that are encoded already.

    texts: the TextFeatures found so far, by the id of their Tokens.
    """

    params: Params
    images: ImageFeatures
    texts: dict[int, TextFeatures]


def make(config: ConfigDict, *, scorer, examples: Examples) -> Evaluator:
    """Returns the Evaluator. A way that the data or the model has nothing for is left out.

    `patches_25/i2t_r1`: with 25 % of the patches covered; i2t_r1 ... t2i_r10 and mean_recall are
    those of `evals.retrieval`, hard_negatives is the accuracy of `evals.hard_negatives`, matching
    is that of `matching`. `patches/r1_auc` is an area of `jaxvl.evals.occlusion_curves`.
    `object/...` and `heatmap/...` stand beside `uncovered/...` and `elsewhere/...`, a box of the
    object's size at another place. These four are of the `uncovered/images` images that have a
    caption that names an object.
    """
    drawn = covering.draw(examples, seed=config.seed)
    ways, shares = options(config)
    ways = _usable(ways, drawn, scorer)
    reused = reusing(scorer)
    parts = dict(scorer=reused, examples=examples, drawn=drawn)
    everything, named = np.arange(len(examples.records)), np.array(list(drawn.boxes), int)
    of_all = of_named = None
    if "patches" in ways:
        of_all = make_measure(config, everything, negatives=True, **parts)
    if set(ways) & {"object", "heatmap"}:
        of_named = make_measure(config, named, negatives=False, **parts)

    def run(params, progress=False):
        texts = {}

        def encode(cover: Cover | None) -> Encoded:
            batches = covering.covered(examples.images(), cover) if cover else examples.images()
            count = len(examples.records)
            images = scorer.images(
                params, batches, count=count, progress=progress, tokens="heatmap" in ways
            )
            return Encoded(params, images, texts)

        def covers():
            yield "uncovered", None
            yield "elsewhere", covering.elsewhere(config, drawn)
            if "object" in ways:
                yield "object", covering.objects(config, drawn)
            if "heatmap" in ways:
                relevance_of = word_maps(scorer, reused, whole, drawn, progress=progress)
                yield "heatmap", covering.heatmap_patches(config, drawn, relevance_of)

        whole, results = encode(None), {}
        if of_all:
            points = {}
            for share in shares:
                encoded = encode(covering.random_patches(config, share)) if share else whole
                points[share] = of_all(encoded, progress=progress)
                results |= _under(f"patches_{100 * share:g}", points[share])
            results |= _under("patches", areas(points))
        if of_named:
            for name, cover in covers():
                encoded = encode(cover) if cover else whole
                results |= _under(name, of_named(encoded, progress=progress))
            results["uncovered/images"] = len(named)
        return results

    return Evaluator(run)


def _under(group, metrics):
    return {f"{group}/{name}": value for name, value in metrics.items()}


def options(config: ConfigDict) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Returns (ways, shares) of config.evals.occlusion; what is not given there is in DEFAULTS."""
    given = {**DEFAULTS, **config.evals.occlusion}
    return tuple(given["ways"]), tuple(given["shares"])


def _usable(ways, drawn, scorer):
    """Returns the ways that can be evaluated; a line on stderr names each other one."""
    import jax

    usable = []
    for way in ways:
        lack = ""
        if way != "patches" and not drawn.boxes:
            lack = "no caption of the data set names an object with a box"
        elif way == "heatmap" and scorer.word_maps is None:
            lack = "the words of this model cannot be explained"
        if not lack:
            usable.append(way)
        elif jax.process_index() == 0:
            line = f"{way!r} is left out: {lack}; remove it from evals.occlusion.ways"
            print(f"evals.occlusion: {line}", file=sys.stderr)
    return usable


def reusing(scorer) -> Any:
    """Returns a scorer for evaluators that are run on Encoded: texts are encoded only once."""

    def texts(encoded, tokens, *, progress):
        if id(tokens) not in encoded.texts:
            encoded.texts[id(tokens)] = scorer.texts(encoded.params, tokens, progress=progress)
        return encoded.texts[id(tokens)]

    def match(encoded, *pairs, progress):
        return scorer.match(encoded.params, *pairs, progress=progress)

    return scorer._replace(
        images=lambda encoded, *_, **__: encoded.images,
        texts=texts,
        match=match if scorer.match else None,
    )


def make_measure(
    config: ConfigDict,
    rows_J: np.ndarray,
    *,
    negatives: bool,
    scorer,
    examples: Examples,
    drawn: Drawn,
) -> Callable[..., dict[str, float]]:
    """Returns a function (Encoded, *, progress) -> {metric: share} of the images rows_J alone.

    scorer: of `reusing`. negatives: whether hard negatives are judged, where there are any.
    """
    some = examples._replace(records=[examples.records[j] for j in rows_J])
    recall = retrieval.make(config, scorer=scorer, examples=some)
    wrong_Px2 = covering.wrong_captions(drawn, rows_J, seed=config.seed)
    lack = hard_negatives.HARD_NEGATIVES.missing(some.records, scorer)
    hard = None
    if negatives and config.evals.hard_negatives is not None and not lack:
        hard = hard_negatives.make(config, scorer=scorer, examples=some)

    def measure(encoded: Encoded, *, progress: bool) -> dict[str, float]:
        if len(rows_J) < len(examples.records):
            encoded = encoded._replace(images=_rows(encoded.images, rows_J))
        found = recall.run(encoded, progress=progress)
        results = {name: found[name] for name in found if not name.endswith("_chance")}
        if scorer.match and len(wrong_Px2):
            texts = scorer.texts(encoded, drawn.tokens, progress=progress)
            judged = matching(scorer, encoded, texts, wrong_Px2, rows_J, progress=progress)
            results["matching"] = judged
        if hard:
            results["hard_negatives"] = hard.run(encoded, progress=progress)["accuracy"]
        return results

    return measure


def _rows(images: ImageFeatures, rows_J: np.ndarray) -> ImageFeatures:
    tokens_IxNxD = images.tokens_IxNxD
    tokens_JxNxD = None if tokens_IxNxD is None else tokens_IxNxD[rows_J]
    return ImageFeatures(tokens_JxNxD, images.embeddings_IxE[rows_J])


def matching(
    scorer,
    encoded: Encoded,
    texts: TextFeatures,
    wrong_Px2: np.ndarray,
    rows_J: np.ndarray,
    *,
    progress: bool,
) -> float:
    """Returns the share of pairs that the higher one of the two match logits judges rightly.

    An image is paired with its drawn caption and with that of another image, so chance is 1/2.
    wrong_Px2: see `covering.wrong_captions`. rows_J: the texts of the images in `encoded`.
    """
    image_P, other_P = wrong_Px2.T
    text_2P = rows_J[np.concatenate([image_P, other_P])]
    pairs_2Px2 = np.stack([np.tile(image_P, 2), text_2P], axis=1)
    logits_2Px2 = scorer.match(encoded, encoded.images, texts, pairs_2Px2, progress=progress)
    is_true_2P = np.arange(len(pairs_2Px2)) < len(wrong_Px2)
    return float(((logits_2Px2.argmax(axis=1) == MATCH) == is_true_2P).mean())


def word_maps(
    scorer, reused, whole: Encoded, drawn: Drawn, *, progress: bool
) -> dict[int, np.ndarray]:
    """Returns {image: float [M], the heat-map of its drawn word}. whole: nothing is covered."""
    texts = reused.texts(whole, drawn.tokens, progress=progress)
    pairs_Px2 = np.array([(image, image) for image in drawn.boxes])
    found = scorer.word_maps(
        whole.params, whole.images, texts, drawn.tokens, pairs_Px2, progress=progress
    )
    return {
        image: relevance_LxM[drawn.token_I[image]]
        for image, (relevance_LxM, _) in zip(drawn.boxes, found, strict=True)
    }


def _check(config: ConfigDict) -> None:
    given = config.evals.occlusion
    require(
        hasattr(given, "keys") and set(given) <= set(DEFAULTS),
        "evals.occlusion needs None, or dict(ways=(...), shares=(...))",
    )
    for name in given:
        require(
            isinstance(given[name], (tuple, list)),
            f"evals.occlusion.{name}={given[name]!r} is not of type tuple",
        )
    ways, shares = options(config)
    require(
        ways and all(way in WAYS for way in ways),
        f"evals.occlusion.ways={ways} are not some of {', '.join(WAYS)}",
    )
    require(
        _ascends(shares),
        f"evals.occlusion.shares={shares} are not two or more numbers that ascend from 0 to at "
        "most 1",
    )
    require(
        config.evals.retrieval is not None,
        "evals.occlusion needs evals.retrieval, whose rerank it uses",
    )


def _ascends(shares):
    if not all(isinstance(share, (int, float)) for share in shares):
        return False
    rises = all(low < high for low, high in zip(shares, shares[1:]))
    return len(shares) > 1 and shares[0] == 0 and shares[-1] <= 1 and rises


OCCLUSION = EvaluatorComponent(
    make,
    keys={
        "evals": {
            "occlusion": Key(
                None, "None, {} for the defaults, or " + repr(DEFAULTS).replace("'", '"')
            )
        }
    },
    check=_check,
)
