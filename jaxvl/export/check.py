"""Is what was exported the same model? The same pictures and texts through JAX and PyTorch.

Everything starts from pictures and strings: JAX takes a picture as evaluation does, PyTorch takes
it with what was written into the folder.
"""

import io
from typing import NamedTuple

import numpy as np

from jaxvl import preprocessing
from jaxvl.data.images.whole import whole
from jaxvl.errors import UserError

TOLERANCE = 1e-4  # of both differences
CAPTIONS = (
    "A red circle above a blue square.",
    "two dogs don't run through the deep, white snow",
    "Naïve café / 3-4 signs: the man's [MASK]!?",
    "",
    " ".join(["the cat that chased the rat"] * 12),
)
SIZES = ((200, 150), (90, 240), (30, 20), (64, 64), (333, 111))  # width, height


class Difference(NamedTuple):
    """Largest |a - b|, and that over the largest |a| of the quantity."""

    absolute: float
    relative: float

    def passes(self):
        """Whether both are small, and numbers."""
        return self.absolute <= TOLERANCE and self.relative <= TOLERANCE


def pictures():
    """Returns the fixed pictures (PIL): landscape, tall, small, square; soft and hard edges."""
    from PIL import Image, ImageDraw, ImageFilter

    made = []
    for number, size in enumerate(SIZES):
        noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1 + number % 3))
        draw = ImageDraw.Draw(picture)
        w, h = size
        draw.ellipse((w // 8, h // 8, w // 2, h // 2), fill=(220, 20 * number, 30))
        draw.rectangle((w // 2, h // 2, w - 3, h - 2), fill=(10, 60, 255 - 40 * number))
        made.append(picture)
    return made


def in_jax(exported):
    """Returns {quantity: array} of the fixed pictures and texts as jaxvl computes it, in float32.

    The towers' numbers do not depend on what the run multiplied in.
    """
    import jax

    from jaxvl.evals.examples import make_tokenize
    from jaxvl.models import MODELS

    config = exported.config.copy_and_resolve_references().unlock()
    config.model.update(product_dtype="float32", activation_dtype="float32")
    model = MODELS[config.model.name].make(config)
    images = np.stack([_as_evaluated(picture, config) for picture in pictures()])
    tokens = make_tokenize(config, exported.tokenizer)(list(CAPTIONS))
    compute = _fused if model.fuse else _dual
    with jax.default_matmul_precision("highest"):
        found = jax.jit(compute(config, model))(exported.params, images, tokens)
    mean, std = (np.asarray(preprocessing.numbers_of(config)[name]) for name in ("mean", "std"))
    return {
        "token ids": tokens.ids,
        "pixels": images / 255,
        "normalised pixels": (images / 255 - mean) / std,
        **{name: np.asarray(value, np.float32) for name, value in found.items()},
    }


def _as_evaluated(picture, config):
    stored = io.BytesIO()
    picture.save(stored, "PNG")
    data = config.data
    return whole(stored.getvalue(), data.image_size, crop=data.eval_crop)


def _dual(config, model):
    def compute(params, images, tokens):
        v = model.encode_image(params, images)
        t = model.encode_text(params, tokens.ids, tokens.mask, key=None)
        return {
            "image embeddings": model.project_image(params, v),
            "text embeddings": model.project_text(params, t, tokens.ids),
        }

    return compute


def _fused(config, model):
    from jaxvl.ops import gradcam

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
            **_dual(config, model)(params, images, tokens),
            "image states": v,
            "text states": t,
            "fused states": matched.states_GxLxD,
            "match logits": matched.logits_Gx2,
            "heat-maps": gradcam.merge_pieces(matched.relevance_GxLxP, tokens.words),
            "word logits": model.word_logits(params, matched.states_GxLxD),
        }

    return compute


def compare(jax_values, torch_values):
    """Returns {quantity: Difference}, of all that PyTorch ("onnx ...": onnxruntime) computed.

    Raises UserError where a quantity has another shape there.
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


def table(report):
    """Returns the report as lines for the terminal."""
    width = max(map(len, report))
    lines = [f"{'':<{width}}  {'absolute':>9}  {'relative':>9}   JAX against PyTorch"]
    for name, difference in report.items():
        verdict = "same" if difference.passes() else f"NOT the same: above {TOLERANCE:g}"
        numbers = f"{difference.absolute:9.1e}  {difference.relative:9.1e}"
        lines.append(f"{name:<{width}}  {numbers}   {verdict}")
    return "\n".join(lines)


def failed(report):
    """Returns the names of the quantities that differ by more than TOLERANCE."""
    return [name for name, difference in report.items() if not difference.passes()]
