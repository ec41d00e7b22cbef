"""A few pictures and captions as the model reads them, for people to look at.

Letters: W words of a caption, g patches along a side.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from jaxvl.data.text.clean import clean_caption
from jaxvl.evals.feeding import padded_rows
from jaxvl.evals.scoring import make_scorer


class Reading(NamedTuple):
    """What a model made of a picture and a caption.

    words: of the cleaned caption, those the model saw. maps_Wxgxg: relevance of the patches to
    each, >= 0. probability: that picture and caption belong together. cut: words it did not see.
    """

    words: list
    maps_Wxgxg: np.ndarray
    probability: float
    cut: list


def read(config, *, model, params, mesh, images, captions, tokenize):
    """Returns a Reading for each picture uint8 [H, W, 3] and its caption; the two lists pair up.

    tokenize: (list of str) -> jaxvl.data.text.tokenizer.Tokens. The model must have a fusion
    encoder.
    """
    scorer = _scorer(FrozenConfigDict({"softmask": config.softmask}), model, mesh)
    batches = _batches(images, mesh.size)
    pictures = scorer.pictures(params, batches, count=len(images), progress=False)
    texts = tokenize(captions)
    found = scorer.word_maps(params, pictures, np.arange(len(images)), texts, progress=False)
    readings = []
    for caption, words_L, (relevance_LxN, probability) in zip(captions, texts.words, found):
        words = clean_caption(caption, max_words=None).split()
        seen = words[: words_L.max() + 1]
        tokens = [int(np.argmax(words_L == place)) for place in range(len(seen))]
        side = round(relevance_LxN.shape[1] ** 0.5)
        maps_Wxgxg = relevance_LxN[tokens].reshape(-1, side, side)
        readings.append(Reading(seen, maps_Wxgxg, probability, words[len(seen) :]))
    return readings


@functools.lru_cache(maxsize=1)  # a run draws its panel many times and compiles it once
def _scorer(config, model, mesh):
    return make_scorer(config, model=model, mesh=mesh, batch_size=mesh.size)


def _batches(images, batch_size):
    """Yields batches as `jaxvl.data.batches.eval_images` does, of pictures every process has."""
    local = batch_size // jax.process_count()
    mine = slice(jax.process_index() * local, (jax.process_index() + 1) * local)
    for number, at in enumerate(padded_rows(len(images), batch_size)):
        batch = {
            "image": np.stack([images[i] for i in at]),
            "index": at.astype(np.int32),
            "mask": number * batch_size + np.arange(batch_size) < len(images),
        }
        yield {name: rows[mine] for name, rows in batch.items()}
