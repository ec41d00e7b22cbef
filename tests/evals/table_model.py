"""A model that looks its answers up: image i is filled with the grey i, text c is the token c.

Its match logit and its similarity are dot products of rows of two tables, its parameters.
"""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals.examples import Examples
from jaxvl.ops.arrays import unit
from jaxvl.types import Model

FIRST = 10  # token of text 0
WIDTH = 32


def make_model(fusion=True):
    def encode_text(params, ids_GxL, mask_GxL, *, key):
        return params["text"][ids_GxL]

    def fuse(params, image_keys, t_GxLxD, mask_GxL, *, key, keep_GxN, probe, layer, first_only):
        return t_GxLxD * image_keys[:, :1], None

    def match_logits(params, states_GxLxD):
        logit_G = states_GxLxD[:, 1].sum(axis=-1)
        return jnp.stack([-logit_G, logit_G], axis=-1)

    return Model(
        init=None,
        encode_image=lambda params, image: params["image"][image[:, :1, 0, 0]],
        encode_text=encode_text,
        project_image=lambda params, v_GxNxD: unit(v_GxNxD[:, 0]),
        project_text=lambda params, t_GxLxD, ids_GxL: unit(t_GxLxD[:, 1]),
        image_keys=lambda params, v_GxNxD: v_GxNxD,
        fuse=fuse if fusion else None,
        match_logits=match_logits,
        word_logits=None,
        partition_rules=(),
    )


def make_params(image_C, *, kind, seed=0):
    """Tables for texts of the images image_C; -1: a text of none.

    kind: perfect, random, constant (one score for all) or broken (no score is a number).
    """
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(256, WIDTH)).astype(np.float32)
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text = rng.normal(size=(FIRST + len(image_C), WIDTH)).astype(np.float32)
    if kind == "perfect":
        true = np.array(image_C) >= 0
        text[FIRST:][true] = image[np.array(image_C)[true]]
        text[FIRST:][~true] = 0
    if kind == "constant":
        image, text = np.ones_like(image), np.ones_like(text)
    if kind == "broken":
        image, text = image * np.nan, text * np.nan
    return {"image": jnp.asarray(image), "text": jnp.asarray(text)}


def make_examples(records, *, greys, batch_size):
    """Examples whose captions are numbers as text; greys: the grey of each record's image."""

    def images():
        for start in range(0, len(records), batch_size):
            index = np.arange(start, start + batch_size)
            mask = index < len(records)
            index = np.where(mask, index, 0).astype(np.int32)
            image = np.zeros((batch_size, 2, 2, 3), np.uint8) + np.uint8(
                np.array(greys)[index][:, None, None, None]
            )
            yield {"image": image, "index": index, "mask": mask}

    def tokenize(captions):
        ids = np.zeros((len(captions), 12), np.int32)
        ids[:, 0] = 2
        ids[:, 1] = [FIRST + int(caption) for caption in captions]
        words = np.full(ids.shape, -1, np.int32)
        words[:, 1] = 0
        return Tokens(ids, ids > 0, words)

    return Examples(records, images, tokenize)


def make_config(*, rerank, batch_size):
    evals = {
        "retrieval": {"rerank": rerank, "same_caption": "positive"},
        "hard_negatives": {"match": True},
        "grounding": {},
    }
    softmask = {"layer": 0, "score": "logit"}
    return ConfigDict(
        {
            "data": {"token_lengths": ()},
            "evals": evals,
            "softmask": softmask,
            "eval": {"batch_size": batch_size},
        }
    )
