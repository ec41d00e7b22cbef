"""BertModel, BertForMaskedLM and RobertaForMaskedLM of Hugging Face.

A BERT becomes the text and fusion encoder of an ALBEF. Both also fill in masked words: see
`jaxvl.interop.masked_lm`.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxvl.errors import UserError
from jaxvl.interop import hugging_face
from jaxvl.interop.names import DENSE, JOINED_DENSE, NORM, SAME, TABLE, Layout, Rule, rules
from jaxvl.interop.weights import Kind, Opened, Settings, Weights
from jaxvl.models import bert

EMBEDDING = (
    ("word", "word_embeddings", TABLE),
    ("position", "position_embeddings", TABLE),
    ("token_type", "token_type_embeddings", TABLE),
    ("norm", "LayerNorm", NORM),
)
LAYER = (
    (
        "attention/qkv",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        JOINED_DENSE,
    ),
    ("attention/out", "attention.output.dense", DENSE),
    ("attention_norm", "attention.output.LayerNorm", NORM),
    ("mlp/up", "intermediate.dense", DENSE),
    ("mlp/down", "output.dense", DENSE),
    ("mlp_norm", "output.LayerNorm", NORM),
)
WORD_HEAD = (
    ("transform", "transform.dense", DENSE),
    ("norm", "transform.LayerNorm", NORM),
    ("bias", "bias", SAME),
)
ROBERTA_WORD_HEAD = (
    ("transform", "dense", DENSE),
    ("norm", "layer_norm", NORM),
    ("bias", "bias", SAME),
)
_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
DEFAULTS = {
    "bert": {**_DEFAULTS, "vocab_size": 30_522, "pad_token_id": 0},
    "roberta": {**_DEFAULTS, "vocab_size": 50_265, "pad_token_id": 1},
}
POSITION_IDS = r"embeddings\.position_ids$"  # a constant, in files of older versions


def text_rules(prefix: str) -> tuple[Rule, ...]:
    """Returns the rules of the embedding and of all layers of the text encoder.

    prefix: what precedes the names of the BERT, "bert." for example.
    """
    layers = f"{prefix}encoder.layer.{{}}."
    return (
        *rules(EMBEDDING, ours="text/embedding/", theirs=f"{prefix}embeddings."),
        *rules(LAYER, ours="text/layers/", theirs=layers, first=0),
    )


def word_head_copies(head: str, prefix: str) -> tuple[tuple[str, str], ...]:
    """Returns the tied tensors of a word head: its weights are the word embeddings."""
    words = f"{prefix}embeddings.word_embeddings.weight"
    return ((f"{head}decoder.weight", words), (f"{head}decoder.bias", f"{head}bias"))


def layout_in_albef(sizes: ConfigDict, *, prefix: str, layers: int) -> Layout:
    """Returns the tensor names of a BERT of `layers` layers that becomes part of an ALBEF.

    Its first layers become the text encoder, its last ones the fusion encoder.
    """
    fusion = rules(
        LAYER,
        ours="fusion/layers/",
        theirs=f"{prefix}encoder.layer.{{}}.",
        first=layers - sizes.text.fusion_layers,
    )
    head = rules(WORD_HEAD, ours="word_head/", theirs="cls.predictions.")
    return Layout(
        rules=(*text_rules(prefix), *fusion, *head),
        copies=word_head_copies("cls.predictions.", prefix),
        ignored=(POSITION_IDS,),
    )


def masked_lm_layout(model_type: str, *, prefix: str) -> Layout:
    """Returns the tensor names of a BERT or RoBERTa (`model_type`) as a masked language model."""
    head, table = {
        "bert": ("cls.predictions.", WORD_HEAD),
        "roberta": ("lm_head.", ROBERTA_WORD_HEAD),
    }[model_type]
    return Layout(
        rules=(*text_rules(prefix), *rules(table, ours="word_head/", theirs=head)),
        copies=word_head_copies(head, prefix),
        ignored=(POSITION_IDS,),
    )


def text_settings(opened: Opened) -> Settings:
    """Returns the sizes of a BERT or RoBERTa. Raises UserError for another activation than gelu."""
    hugging_face.check_gelu(opened)
    config = with_defaults(opened)
    return {
        **hugging_face.tower_settings("text", config, epsilon=bert.EPSILON),
        "model.text.vocabulary_size": config["vocab_size"],
        "model.text.positions": config["max_position_embeddings"],
    }


def with_defaults(opened: Opened) -> dict[str, Any]:
    """Returns config.json with what it leaves out."""
    return hugging_face.filled(opened.config, DEFAULTS[opened.config["model_type"]])


def open_bert(opened: Opened) -> Weights:
    """Returns the Weights of a BERT, as the text and fusion encoder of an ALBEF."""
    if opened.config["model_type"] != "bert":
        raise UserError(
            f"{opened.path} is a {opened.config['model_type']}, which can fill in masked words but "
            "is no part of an image-text model; ALBEF starts from a bert"
        )
    settings = text_settings(opened)
    layers = settings.pop("model.text.layers")
    prefix = hugging_face.prefix_of(opened.tensors, "bert")

    def check(config: ConfigDict) -> None:
        text = config.model.text
        if layers < text.layers + text.fusion_layers:
            raise UserError(
                f"config: model.init={opened.path!r} has {layers} layers, model.text.layers="
                f"{text.layers} and model.text.fusion_layers={text.fusion_layers} need "
                f"{text.layers + text.fusion_layers}; their sum can be {layers} at most"
            )

    return Weights(
        path=opened.path,
        kind="bert (Hugging Face)",
        tensors=opened.tensors,
        layout=lambda sizes: layout_in_albef(sizes, prefix=prefix, layers=layers),
        settings=settings,
        start={
            "method": "albef",
            "model.text.layers": layers // 2,
            "model.text.fusion_layers": layers - layers // 2,
        },
        check=check,
    )


BERT = Kind(open=open_bert, model_types=("bert", "roberta"))
