"""CLIPModel of Hugging Face."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxvl.errors import UserError
from jaxvl.interop import hugging_face
from jaxvl.interop.names import (
    DENSE,
    JOINED_DENSE,
    KERNEL,
    NORM,
    PATCHES,
    ROW,
    SCALAR,
    TABLE,
    TOKEN,
    Layout,
    rules,
)
from jaxvl.interop.weights import Kind, Opened, Settings, Weights
from jaxvl.models import clip

TOKEN_LENGTHS = (16, 24, 32, 48)  # most captions are far shorter than CLIP's 77 tokens
LARGEST_ID = 2  # eos_token_id of configs older than the key: the text ends at its largest id

_TOWER = {"num_hidden_layers": 12, "hidden_act": "quick_gelu"}
TEXT_DEFAULTS = {
    **_TOWER,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "vocab_size": 49_408,
    "max_position_embeddings": 77,
}
IMAGE_DEFAULTS = {
    **_TOWER,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 32,
}
EMBED_SIZE = 512

BLOCK = (
    ("attention/qkv", tuple(f"self_attn.{n}_proj" for n in "qkv"), JOINED_DENSE),
    ("attention/out", "self_attn.out_proj", DENSE),
    ("attention_norm", "layer_norm1", NORM),
    ("mlp/up", "mlp.fc1", DENSE),
    ("mlp/down", "mlp.fc2", DENSE),
    ("mlp_norm", "layer_norm2", NORM),
)
IMAGE_EMBEDDING = (
    ("class_token", "class_embedding", TOKEN),
    ("positions", "position_embedding.weight", ROW),
    ("projection/kernel", "patch_embedding.weight", PATCHES),
)
TEXT_EMBEDDING = (
    ("word", "token_embedding", TABLE),
    ("positions", "position_embedding", TABLE),
)
OTHERS = (
    ("image/pre_norm", "vision_model.pre_layrnorm", NORM),  # a typing error of theirs
    ("image/norm", "vision_model.post_layernorm", NORM),
    ("text/norm", "text_model.final_layer_norm", NORM),
    ("image_projection", "visual_projection", KERNEL),
    ("text_projection", "text_projection", KERNEL),
    ("logit_scale", "logit_scale", SCALAR),
)


def layout(sizes: ConfigDict) -> Layout:
    """Returns the tensor names of CLIPModel; they are the same for all sizes."""
    del sizes
    image, text = "vision_model.", "text_model."
    return Layout(
        rules=(
            *rules(IMAGE_EMBEDDING, ours="image/embedding/", theirs=f"{image}embeddings."),
            *rules(BLOCK, ours="image/layers/", theirs=f"{image}encoder.layers.{{}}.", first=0),
            *rules(TEXT_EMBEDDING, ours="text/embedding/", theirs=f"{text}embeddings."),
            *rules(BLOCK, ours="text/layers/", theirs=f"{text}encoder.layers.{{}}.", first=0),
            *rules(OTHERS),
        ),
        ignored=(r"embeddings\.position_ids$",),
    )


def start(positions: int) -> Settings:
    """Returns the settings with which a run on CLIP's weights starts; `positions` in tokens."""
    return {
        "method": "clip",
        "data.add_sep": True,
        "data.max_tokens": positions,
        "data.max_words": positions,
        "data.token_lengths": TOKEN_LENGTHS,
    }


def open_clip_model(opened: Opened) -> Weights:
    """Returns the Weights of a folder with a CLIPModel."""
    image = _tower(opened.config, "vision_config", IMAGE_DEFAULTS)
    text = _tower(opened.config, "text_config", TEXT_DEFAULTS)
    settings = {
        "model.name": "clip",
        "model.activation": _activation(opened.path, image, text),
        "model.embed_size": opened.config.get("projection_dim", EMBED_SIZE),
        "model.image.patch_size": image["patch_size"],
        **hugging_face.tower_settings("image", image, epsilon=clip.EPSILON),
        **hugging_face.tower_settings("text", text, epsilon=clip.EPSILON),
        "model.text.vocabulary_size": text["vocab_size"],
        "model.text.positions": text["max_position_embeddings"],
    }
    end = text.get("eos_token_id", LARGEST_ID)
    if end != LARGEST_ID:
        settings["model.text.end_token"] = end
    processor = hugging_face.image_processor(opened.path)
    return Weights(
        path=opened.path,
        kind="CLIP (Hugging Face)",
        tensors=opened.tensors,
        layout=layout,
        settings=settings,
        start={
            **start(text["max_position_embeddings"]),
            "data.image_size": image["image_size"],
            **_crop(opened.path, processor),
        },
        notes=_notes(processor, image["image_size"]),
    )


def _tower(config, name, defaults):
    """Returns the part of config.json about a tower. NAME_dict, of older files, goes first."""
    told = {**(config.get(name) or {}), **(config.get(f"{name}_dict") or {})}
    return hugging_face.filled(told, defaults)


def _activation(path, *towers):
    activations = {tower["hidden_act"] for tower in towers}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        raise UserError(
            f"{path}: hidden_act {', '.join(sorted(activations))} is not known, only gelu "
            "or quick_gelu in both towers"
        )
    return activations.pop()


def _crop(path: str, processor: Mapping[str, Any]) -> Settings:
    other = hugging_face.other_pixels(processor)
    if other:
        raise UserError(
            f"{path}: its image processor ({hugging_face.PREPROCESSOR}) gives other pixels than "
            f"jaxvl can: {'; '.join(other)}"
        )
    if "do_center_crop" not in processor:
        return {}
    size = processor.get("size", {})
    squashes = isinstance(size, dict) and "height" in size
    crops = processor["do_center_crop"] and not squashes
    return {"data.eval_crop": "center" if crops else "none"}


def _notes(processor: Mapping[str, Any], image_size: int) -> tuple[str, ...]:
    size = processor.get("size") or image_size
    shorter = size.get("shortest_edge", image_size) if isinstance(size, dict) else size
    if shorter == image_size:
        return ()
    return (
        f"its images were resized to {shorter} pixels and then cropped to {image_size}; here they "
        f"are resized to {image_size}",
    )


CLIP = Kind(
    open=open_clip_model,
    model_types=("clip",),
    model="clip",
    layout=layout,
    epsilons={"image": clip.EPSILON, "text": clip.EPSILON},
)
