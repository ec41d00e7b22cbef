"""BertForMaskedLM, BertModel and RobertaForMaskedLM of Hugging Face as masked language models."""

from pathlib import Path

import jax
import jax.numpy as jnp

from jaxvl.errors import UserError
from jaxvl.interop import hugging_face, names
from jaxvl.interop.kinds import bert
from jaxvl.interop.weights import Opened
from jaxvl.models import masked_lm
from jaxvl.types import Params

# Heads that fill in no words: of BertModel, and of the training on pairs of sentences.
UNUSED = r"(^|\.)pooler\.|^cls\.seq_relationship\."


def load_masked_lm(
    path: Path | str, *, words: bool
) -> tuple[masked_lm.MaskedLm, Params, masked_lm.Sizes]:
    """Returns the model, its parameters and its sizes, of a Hugging Face folder.

    words: False reads a BertModel, whose parameters have no word_head. Raises UserError naming what
    cannot be read, is missing or is left over.
    """
    opened = hugging_face.open_folder(path, bert.BERT.model_types)
    try:
        sizes = sizes_of(opened)
    except KeyError as error:
        raise UserError(f"{path}/config.json lacks the key {error}") from None
    kind = opened.config["model_type"]
    layout = bert.masked_lm_layout(kind, prefix=hugging_face.prefix_of(opened.tensors, kind))
    layout = layout._replace(ignored=(*layout.ignored, UNUSED))
    model = masked_lm.make(sizes)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    if not words:
        del shapes["word_head"]
    try:
        params, missing, left_over = names.from_torch(opened.tensors, layout, shapes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if missing or left_over:
        raise UserError(f"{path}: {names.differences(missing, left_over)}")
    return model, jax.tree.map(jnp.asarray, params), sizes


def sizes_of(opened: Opened) -> masked_lm.Sizes:
    """Returns the sizes that a config.json tells. Raises KeyError for a key that is absent."""
    settings, config = bert.text_settings(opened), bert.with_defaults(opened)
    is_roberta = config["model_type"] == "roberta"
    return masked_lm.Sizes(
        **{key.removeprefix("model.text."): value for key, value in settings.items()},
        token_types=config["type_vocab_size"],
        first_position=config["pad_token_id"] + 1 if is_roberta else 0,
    )
