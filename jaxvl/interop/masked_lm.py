"""BertForMaskedLM, BertModel and RobertaForMaskedLM of Hugging Face, read to fill in words."""

import jax
import jax.numpy as jnp

from jaxvl.errors import UserError
from jaxvl.interop import layouts, names
from jaxvl.interop.weights import open_hugging_face, prefix_of, text_settings
from jaxvl.models import masked_lm

UNUSED = r"(^|\.)pooler\.|^cls\.seq_relationship\."  # of BertModel and of next-sentence training


def load_masked_lm(path, *, words):
    """Returns (MaskedLm, params, Sizes) of a Hugging Face folder.

    words: False reads a BertModel, whose params have no word_head. Raises UserError.
    """
    config, tensors = open_hugging_face(path, ("bert", "roberta"))
    try:
        sizes = sizes_of(path, config)
    except KeyError as error:
        raise UserError(f"{path}/config.json lacks the key {error}") from None
    kind = config["model_type"]
    layout = layouts.masked_lm(kind, prefix=prefix_of(tensors, kind))
    model = masked_lm.make(sizes)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    if not words:
        del shapes["word_head"]
    layout = layout._replace(ignored=(*layout.ignored, UNUSED))
    try:
        params, missing, left_over = names.from_torch(tensors, layout, shapes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if missing or left_over:
        told = [
            f"{what} {', '.join(some[:6])}"
            for what, some in (("missing:", missing), ("left over:", left_over))
            if some
        ]
        raise UserError(f"{path}: {'; '.join(told)}")
    return model, jax.tree.map(jnp.asarray, params), sizes


def sizes_of(path, config):
    """Returns masked_lm.Sizes from the object in a config.json."""
    settings = text_settings(path, config)
    roberta = config["model_type"] == "roberta"
    return masked_lm.Sizes(
        **{key.removeprefix("model.text."): value for key, value in settings.items()},
        token_types=config["type_vocab_size"],
        first_position=config["pad_token_id"] + 1 if roberta else 0,
    )
