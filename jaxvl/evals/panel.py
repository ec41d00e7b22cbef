"""A fixed panel of held-out images, with a heat-map for each word of a caption."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image
from tokenizers import Tokenizer

from jaxvl.data.sources import Source
from jaxvl.evals import draw
from jaxvl.evals.examples import make_examples
from jaxvl.evals.feeding import whole_images
from jaxvl.evals.trained import Explanation, TrainedModel
from jaxvl.types import Model, Params

SIDE = 150  # pixels of an image
LEGEND = (
    "Bright: the regions that were relevant to this word. "
    "The percentage is the probability that image and sentence belong together, by the model; "
    "a model without a fusion encoder has only a cosine."
)


def draw_panel(
    config: ConfigDict,
    *,
    model: Model,
    params: Params,
    source: Source,
    tokenizer: Tokenizer,
    mesh: Mesh,
    path: Path,
) -> Path:
    """Draws the first log.panel_images held-out images, one row each, as a PNG. Returns path.

    Each has the longest of its captions, which does not depend on the model, so that panels of
    different steps can be compared.
    """
    count = min(config.log.panel_images, source.num_examples)
    source = source._replace(num_examples=count)
    config = config.copy_and_resolve_references()
    config.eval.batch_size = mesh.size
    examples = make_examples(config, source=source, tokenizer=tokenizer)
    captions = [max(record["captions"], key=len) for record in examples.records]
    images = whole_images(examples.images(), count)
    trained = TrainedModel(
        config,
        model=model,
        params=params,
        tokenizer=tokenizer,
        mesh=mesh,
        batch_size=mesh.size,
    )
    image, text = trained.encode_image(images, states=True), trained.encode_text(captions)
    explanations = trained.explain(image, text)
    if jax.process_index() == 0:
        draw.save(page_of(images, captions, explanations), path)
    return path


def page_of(
    images: Sequence[np.ndarray], captions: Sequence[str], explanations: Sequence[Explanation]
) -> Image.Image:
    """Returns the page of images uint8 [H, W, 3], their captions and Explanations."""
    columns = max(1, min(8, max(len(one.heatmaps) for one in explanations) + 1))
    sections = [
        (
            f"“{caption}” — {_judgement(one)}",
            draw.word_row(
                Image.fromarray(image), one.heatmaps, side=SIDE, columns=columns, sentence=False
            ),
        )
        for image, caption, one in zip(images, captions, explanations)
    ]
    return draw.page("The image regions that each word refers to", sections, legend=LEGEND)


def _judgement(one):
    return f"{one.similarity:.2f}" if one.probability is None else f"{one.probability:.0%}"
