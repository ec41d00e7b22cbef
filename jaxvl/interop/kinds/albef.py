"""ALBEF's own checkpoints, as pre-trained and as fine-tuned for retrieval."""

import re
from collections.abc import Collection

from ml_collections import ConfigDict

from jaxvl.errors import UserError
from jaxvl.interop.kinds import bert
from jaxvl.interop.names import (
    DENSE,
    NORM,
    PATCH_DENSE,
    SAME,
    SCALAR,
    TRANSPOSED,
    WINDOW_DENSE,
    Layout,
    Table,
    rules,
)
from jaxvl.interop.weights import Kind, Opened, Settings, Weights, heads_of, layer_count
from jaxvl.models import bert as bert_model
from jaxvl.models import vit as vit_model

SKIPPED = {
    r"^\w+_m\.": (
        "momentum encoders",
        "a run's momentum encoders start as copies of its weights",
    ),
    r"^(image_queue|text_queue|idx_queue|queue_ptr|ptr_queue)$": (
        "queues",
        "a run fills its queues with its own images and texts",
    ),
}

VIT_BLOCK = (
    ("attention/qkv", "attn.qkv", DENSE),
    ("attention/out", "attn.proj", DENSE),
    ("attention_norm", "norm1", NORM),
    ("mlp/up", "mlp.fc1", DENSE),
    ("mlp/down", "mlp.fc2", DENSE),
    ("mlp_norm", "norm2", NORM),
)
IMAGE_EMBEDDING = (
    ("class_token", "cls_token", SAME),
    ("positions", "pos_embed", SAME),
    ("projection", "patch_embed.proj", PATCH_DENSE),
)
CROSS_ATTENTION = (
    ("cross_attention/query", "crossattention.self.query", DENSE),
    ("cross_attention/key_kernel", "crossattention.self.key.weight", TRANSPOSED),
    ("cross_attention/key_bias", "crossattention.self.key.bias", SAME),
    ("cross_attention/value_kernel", "crossattention.self.value.weight", TRANSPOSED),
    ("cross_attention/value_bias", "crossattention.self.value.bias", SAME),
    ("cross_attention/out", "crossattention.output.dense", DENSE),
    ("cross_norm", "crossattention.output.LayerNorm", NORM),
)
OTHERS = (
    ("image/norm", "visual_encoder.norm", NORM),
    ("image_projection", "vision_proj", DENSE),
    ("text_projection", "text_proj", DENSE),
    ("match_head", "itm_head", DENSE),
    ("temperature", "temp", SCALAR),
)

LOCAL = (("image/unmixed_norm", "visual_encoder.unmixed_norm", NORM),)


def image_embedding(image: ConfigDict) -> Table:
    """Returns the names in the embedding of the patches. image: config.model.image."""
    if image.stem == "linear":
        return IMAGE_EMBEDDING
    convolutions = [
        part
        for k in range(image.patch_size.bit_length() - 1)
        for part in (
            (f"convolutions/convolution_{k}", f"patch_embed.convolutions.{k}", WINDOW_DENSE),
            (f"convolutions/norm_{k}", f"patch_embed.norms.{k}", NORM),
        )
    ]
    return (*IMAGE_EMBEDDING[:2], *convolutions, ("projection", "patch_embed.proj", DENSE))


def layout(sizes: ConfigDict, *, bert_prefix: str = "bert.") -> Layout:
    """Returns the tensor names; checkpoints that were fine-tuned have bert_prefix = ""."""
    image, text = "visual_encoder.", f"text_encoder.{bert_prefix}"
    fusion = {
        "ours": "fusion/layers/",
        "theirs": f"{text}encoder.layer.{{}}.",
        "first": sizes.text.layers,
    }
    head = "text_encoder.cls.predictions."
    return Layout(
        rules=(
            *rules(image_embedding(sizes.image), ours="image/embedding/", theirs=image),
            *rules(VIT_BLOCK, ours="image/layers/", theirs=f"{image}blocks.{{}}.", first=0),
            *bert.text_rules(text),
            *rules(bert.LAYER, **fusion),
            *rules(CROSS_ATTENTION, **fusion),
            *rules(bert.WORD_HEAD, ours="word_head/", theirs=head),
            *rules(OTHERS),
            *rules(LOCAL if sizes.fusion_tokens == "local" else ()),
        ),
        copies=bert.word_head_copies(head, "text_encoder.bert."),
        writes_copies=True,
        ignored=(r"^text_encoder(_m)?\.(bert\.)?embeddings\.position_ids$",),
    )


def recognises(names: Collection[str]) -> bool:
    """Returns whether the names are those of ALBEF."""
    return "visual_encoder.pos_embed" in names


def open_checkpoint(opened: Opened) -> Weights:
    """Returns the Weights of a checkpoint. Raises UserError where it has no text encoder."""
    tensors = opened.tensors
    words = "embeddings.word_embeddings.weight"
    bert_prefix = "bert." if f"text_encoder.bert.{words}" in tensors else ""
    if f"text_encoder.{bert_prefix}{words}" not in tensors:
        raise UserError(f"{opened.path} has ALBEF's image encoder, but not its text encoder")
    grid = round((tensors["visual_encoder.pos_embed"].shape[1] - 1) ** 0.5)
    patch = _patch_size(tensors)
    settings = _image_sizes(tensors) | _text_sizes(tensors, f"text_encoder.{bert_prefix}")
    settings["model.image.patch_size"] = patch
    image_heads, image_unknown = heads_of("image", settings["model.image.width"])
    text_heads, text_unknown = heads_of("text", settings["model.text.width"])
    if "text_proj.weight" in tensors:
        settings["model.embed_size"] = tensors["text_proj.weight"].shape[0]
    return Weights(
        path=opened.path,
        kind="ALBEF",
        tensors=tensors,
        layout=lambda sizes: layout(sizes, bert_prefix=bert_prefix),
        settings={"model.name": "albef", **settings},
        start={"method": "albef", "data.image_size": grid * patch},
        guesses=image_heads | text_heads,
        unknown=image_unknown | text_unknown,
        skipped=SKIPPED,
    )


def _patch_size(tensors) -> int:
    shape = tensors["visual_encoder.patch_embed.proj.weight"].shape
    if len(shape) != 4:
        raise UserError("visual_encoder.patch_embed.proj.weight is not a convolution of patches")
    return shape[-1]


def _image_sizes(tensors) -> Settings:
    width = tensors["visual_encoder.pos_embed"].shape[-1]
    return {
        "model.image.layers": layer_count(tensors, r"visual_encoder\.blocks\.(\d+)\."),
        "model.image.width": width,
        "model.image.mlp_width": tensors["visual_encoder.blocks.0.mlp.fc1.bias"].shape[0],
    }


def _text_sizes(tensors, text: str) -> Settings:
    words, width = tensors[f"{text}embeddings.word_embeddings.weight"].shape
    layers = layer_count(tensors, rf"{re.escape(text)}encoder\.layer\.(\d+)\.")
    query = "crossattention.self.query.weight"
    fusion = sum(name.startswith(text) and name.endswith(query) for name in tensors)
    return {
        "model.text.layers": layers - fusion,
        "model.text.fusion_layers": fusion,
        "model.text.width": width,
        "model.text.mlp_width": tensors[f"{text}encoder.layer.0.intermediate.dense.bias"].shape[0],
        "model.text.vocabulary_size": words,
        "model.text.positions": tensors[f"{text}embeddings.position_embeddings.weight"].shape[0],
    }


ALBEF = Kind(
    open=open_checkpoint,
    recognises=recognises,
    model="albef",
    layout=layout,
    epsilons={"image": vit_model.EPSILON, "text": bert_model.EPSILON},
)
