"""A fixed panel of held-out pictures and what each word of a caption looks at."""

import jax
import numpy as np
from PIL import Image

from jaxvl.evals import draw
from jaxvl.evals.examples import make_examples
from jaxvl.evals.reading import read

SIDE = 150  # pixels of a picture
LEGEND = (
    "Bright = what the model looked at when it read this word. "
    "The percentage is how sure the model is that picture and sentence belong together."
)


def draw_panel(config, *, model, params, source, tokenizer, mesh, path):
    """Draws the first log.panel_images held-out pictures, one row each, as a PNG. Returns path.

    Each with the longest of its captions, which does not depend on the model: panels of different
    steps can be laid side by side. Raises nothing of its own.
    """
    count = min(config.log.panel_images, source.num_examples)
    source = source._replace(num_examples=count)
    config = config.copy_and_resolve_references()
    config.eval.batch_size = mesh.size
    examples = make_examples(config, source=source, tokenizer=tokenizer)
    captions = [max(record["captions"], key=len) for record in examples.records]
    images = _pictures(examples, count)
    readings = read(
        config,
        model=model,
        params=params,
        mesh=mesh,
        images=images,
        captions=captions,
        tokenize=examples.tokenize,
    )
    if jax.process_index() == 0:
        draw.save(draw_readings(images, captions, readings), path)
    return path


def draw_readings(images, captions, readings):
    """Returns the page (PIL) of pictures uint8 [H, W, 3], their captions and Readings."""
    columns = max(1, min(8, max(len(reading.words) for reading in readings) + 1))
    sections = [
        (
            f"“{caption}” — {reading.probability:.0%}",
            draw.word_row(
                Image.fromarray(image), reading, side=SIDE, columns=columns, sentence=False
            ),
        )
        for image, caption, reading in zip(images, captions, readings)
    ]
    return draw.page("What each word looks at", sections, legend=LEGEND)


def _pictures(examples, count):
    """Returns the pictures uint8 [H, W, 3] in order, on every process."""
    from jax.experimental.multihost_utils import process_allgather

    pictures = [None] * count
    for batch in examples.pictures():
        if jax.process_count() > 1:
            batch = process_allgather(batch, tiled=True)
        for image, index, real in zip(batch["image"], batch["index"], batch["mask"]):
            if real:
                pictures[index] = np.asarray(image)
    return pictures
