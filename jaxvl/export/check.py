"""Compares an exported model with JAX on the same images and texts.

JAX prepares them as evaluation does, PyTorch with the files and settings in the folder.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvl import preprocessing
from jaxvl.data.text import tokenizer
from jaxvl.data.text.tokenizer import Tokens
from jaxvl.errors import UserError
from jaxvl.evals.cosine_maps import without_each_word
from jaxvl.export import examples
from jaxvl.export.types import Run
from jaxvl.models import MODELS
from jaxvl.ops import gradcam
from jaxvl.types import Model, Params

TOLERANCE = 1e-4  # of both differences
# Scalars that weigh similarities, by their name here and their path in the parameters.
SCALARS = {
    "temperature": "temperature",
    "logit scale": "logit_scale",
    "logit bias": "contrastive/bias",
}


class Difference(NamedTuple):
    """Largest |a - b|, and the same divided by the largest |a| of the quantity."""

    absolute: float
    relative: float

    def passes(self) -> bool:
        """Returns whether both are numbers and at most TOLERANCE."""
        return self.absolute <= TOLERANCE and self.relative <= TOLERANCE


Report = dict[str, Difference]


def in_jax(run: Run, params: Params) -> dict[str, np.ndarray]:
    """Returns {quantity: array} of the fixed images and texts in JAX, as pairs, in float32.

    The precision of the products in the run does not matter: here all of them are in float32.
    """
    from jaxvl.interop.names import flatten

    config = run.config.copy_and_resolve_references().unlock()
    config.model.update(product_dtype="float32", activation_dtype="float32")
    model = MODELS[config.model.name].make(config)
    data, numbers = config.data, run.preprocessing
    images = np.stack(
        [
            preprocessing.resized(image, data.image_size, crop=data.eval_crop)
            for image in examples.images()
        ]
    )
    tokens = tokenizer.encode_for(run.tokenizer, list(examples.CAPTIONS), data)
    compute = _fused(config, model) if model.fuse else _explained(model, tokens)
    with jax.default_matmul_precision("highest"):
        found = jax.jit(compute)(params, images, tokens)
    arrays = flatten(params)
    return {
        "token ids": tokens.ids,
        "pixels": images / 255,
        "normalised pixels": (images / 255 - np.asarray(numbers["mean"])) / numbers["std"],
        **{name: arrays[path] for name, path in SCALARS.items() if path in arrays},
        **{name: np.asarray(value, np.float32) for name, value in found.items()},
    }


def _dual(model: Model) -> Callable:
    def compute(params, images, tokens):
        v = model.encode_image(params, images)
        t = model.encode_text(params, tokens.ids, tokens.mask, key=None)
        return {
            "image embeddings": model.project_image(params, v),
            "text embeddings": model.project_text(params, t, tokens.ids),
        }

    return compute


def _explained(model: Model, tokens: Tokens) -> Callable:
    """Returns `_dual` with heat-maps [G, L, P]: a text's words in turn, and then zeros."""
    without, text_R, word_R = without_each_word(tokens)

    def compute(params, images, tokens):
        found = _dual(model)(params, images, tokens)
        zt_GxE = found["text embeddings"]
        t_RxLxD = model.encode_text(params, without.ids, without.mask, key=None)
        added_RxE = zt_GxE[text_R] - model.project_text(params, t_RxLxD, without.ids)
        directions_GxLxE = jnp.zeros((*tokens.ids.shape, zt_GxE.shape[1]))
        directions_GxLxE = directions_GxLxE.at[text_R, word_R].set(added_RxE)
        v = model.encode_image(params, images)
        relevance_GxLxP = gradcam.relevance_to_directions(model, params, v, directions_GxLxE)
        return {**found, "heat-maps": relevance_GxLxP}

    return compute


def _fused(config: ConfigDict, model: Model) -> Callable:
    def compute(params, images, tokens):
        v = model.encode_image(params, images)
        t = model.encode_text(params, tokens.ids, tokens.mask, key=None)
        matched = gradcam.match_and_explain(
            model,
            params,
            model.image_keys(params, v),
            t,
            tokens.mask,
            layer=config.softmask.layer,
            score=config.softmask.score,
            key=None,
        )
        return {
            **_dual(model)(params, images, tokens),
            "image states": v,
            "text states": t,
            "fused states": matched.states_GxLxD,
            "match logits": matched.logits_Gx2,
            "heat-maps": gradcam.merge_pieces(matched.relevance_GxLxP, tokens.words),
            "word logits": model.word_logits(params, matched.states_GxLxD),
        }

    return compute


def compare(jax_values: Mapping[str, np.ndarray], torch_values: Mapping[str, np.ndarray]) -> Report:
    """Returns {quantity: Difference} of all quantities that PyTorch computed.

    Quantities called "onnx ..." come from onnxruntime. Raises UserError where a quantity has
    another shape than in JAX.
    """
    report = {}
    for name, theirs in torch_values.items():
        ours = np.asarray(jax_values[name.removeprefix("onnx ")], np.float64)
        theirs = np.asarray(theirs, np.float64)
        if ours.shape != theirs.shape:
            raise UserError(f"export: {name} is {theirs.shape} in PyTorch, {ours.shape} in JAX")
        absolute, largest = np.abs(ours - theirs).max(), np.abs(ours).max()
        relative = absolute / largest if largest > 0 else absolute
        report[name] = Difference(float(absolute), float(relative))
    return report


def table(report: Report) -> str:
    """Returns the report as lines for the terminal."""
    width = max(map(len, report))
    lines = [f"{'':<{width}}  {'absolute':>9}  {'relative':>9}   JAX against PyTorch"]
    for name, difference in report.items():
        verdict = "same" if difference.passes() else f"NOT the same: above {TOLERANCE:g}"
        numbers = f"{difference.absolute:9.1e}  {difference.relative:9.1e}"
        lines.append(f"{name:<{width}}  {numbers}   {verdict}")
    return "\n".join(lines)


def failed(report: Report) -> list[str]:
    """Returns the quantities that differ by more than TOLERANCE."""
    return [name for name, difference in report.items() if not difference.passes()]
