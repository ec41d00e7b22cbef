"""ViTModel and DeiTModel of Hugging Face: the image encoder of an ALBEF."""

import numpy as np

from jaxvl.interop import hugging_face
from jaxvl.interop.names import DENSE, JOINED_DENSE, NORM, PATCH_DENSE, SAME, Layout, rules
from jaxvl.interop.tensor_files import Tensors
from jaxvl.interop.weights import Kind, Opened, Weights

EMBEDDING = (
    ("class_token", "cls_token", SAME),
    ("positions", "position_embeddings", SAME),
    ("projection", "patch_embeddings.projection", PATCH_DENSE),
)
BLOCK = (
    (
        "attention/qkv",
        tuple(f"attention.attention.{part}" for part in ("query", "key", "value")),
        JOINED_DENSE,
    ),
    ("attention/out", "attention.output.dense", DENSE),
    ("attention_norm", "layernorm_before", NORM),
    ("mlp/up", "intermediate.dense", DENSE),
    ("mlp/down", "output.dense", DENSE),
    ("mlp_norm", "layernorm_after", NORM),
)
EPSILON = 1e-12  # of LayerNorm where config.json does not have it
DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
}
DISTILLATION_TOKEN = 1  # its place in DeiT's positions, after the class token


def layout(prefix: str) -> Layout:
    """Returns the tensor names; prefix: "vit." or "deit." where the model has a head, else ""."""
    layers = f"{prefix}encoder.layer.{{}}."
    return Layout(
        rules=(
            *rules(EMBEDDING, ours="image/embedding/", theirs=f"{prefix}embeddings."),
            *rules(BLOCK, ours="image/layers/", theirs=layers, first=0),
            *rules((("image/norm", "layernorm", NORM),), theirs=prefix),
        )
    )


def open_vit(opened: Opened) -> Weights:
    """Returns the Weights of a ViT or DeiT. Raises UserError for another activation than gelu."""
    hugging_face.check_gelu(opened)
    config = hugging_face.filled(opened.config, DEFAULTS)
    tensors, model_type = opened.tensors, opened.config["model_type"]
    prefix = hugging_face.prefix_of(tensors, model_type)
    if model_type == "deit":
        tensors = _without_distillation(tensors, f"{prefix}embeddings.position_embeddings")
    notes = ()
    other = hugging_face.other_pixels(hugging_face.image_processor(opened.path))
    if other:
        notes = (
            f"its images were prepared with {', '.join(other)}; a run learns the difference, and "
            "the same holds for the ViT that ALBEF's authors started from",
        )
    return Weights(
        path=opened.path,
        kind=f"{model_type} (Hugging Face)",
        tensors=tensors,
        layout=lambda sizes: layout(prefix),
        settings={
            "model.image.patch_size": config["patch_size"],
            **hugging_face.tower_settings("image", config, epsilon=EPSILON),
        },
        start={"method": "albef", "data.image_size": config["image_size"]},
        notes=notes,
    )


def _without_distillation(tensors: Tensors, name: str) -> Tensors:
    """Returns the tensors, with the distillation token's row removed from the positions `name`."""
    if name not in tensors:
        return tensors
    return tensors.replaced(name, lambda: np.delete(tensors[name], DISTILLATION_TOKEN, axis=1))


VIT = Kind(open=open_vit, model_types=("vit", "deit"))
