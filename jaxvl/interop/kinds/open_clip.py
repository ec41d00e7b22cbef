"""State dicts of open_clip and of OpenAI's CLIP, whose names open_clip took over."""

from collections.abc import Collection

from ml_collections import ConfigDict

from jaxvl.errors import UserError
from jaxvl.interop import hugging_face
from jaxvl.interop.kinds.clip import start
from jaxvl.interop.names import (
    DENSE,
    NORM,
    PATCHES,
    ROW,
    SAME,
    SCALAR,
    TABLE,
    TOKEN,
    TRANSPOSED,
    Layout,
    rules,
)
from jaxvl.interop.tensor_files import Tensors
from jaxvl.interop.weights import Kind, Opened, Settings, Weights, heads_of, layer_count

BLOCK = (
    ("attention/qkv/kernel", "attn.in_proj_weight", TRANSPOSED),
    ("attention/qkv/bias", "attn.in_proj_bias", SAME),
    ("attention/out", "attn.out_proj", DENSE),
    ("attention_norm", "ln_1", NORM),
    ("mlp/up", "mlp.c_fc", DENSE),
    ("mlp/down", "mlp.c_proj", DENSE),
    ("mlp_norm", "ln_2", NORM),
)
IMAGE_EMBEDDING = (
    ("class_token", "class_embedding", TOKEN),
    ("positions", "positional_embedding", ROW),
    ("projection/kernel", "conv1.weight", PATCHES),
)
LOGIT_BIAS = "logit_bias"  # of models trained with a sigmoid loss, as SigLIP is
OTHERS = (
    ("image/pre_norm", "visual.ln_pre", NORM),
    ("image/norm", "visual.ln_post", NORM),
    ("text/embedding/word", "token_embedding", TABLE),
    ("text/embedding/positions", "positional_embedding", SAME),
    ("text/norm", "ln_final", NORM),
    ("image_projection/kernel", "visual.proj", SAME),  # [in, out], as ours
    ("text_projection/kernel", "text_projection", SAME),
    ("logit_scale", "logit_scale", SCALAR),
    ("contrastive/bias", LOGIT_BIAS, SCALAR),
)
ACTIVATION_ADVICE = (
    "model.activation=quick_gelu for OpenAI's weights and models with quickgelu in their name, or "
    "--set model.activation=gelu for all others"
)


def layout(sizes: ConfigDict) -> Layout:
    """Returns the tensor names; they are the same for all sizes."""
    del sizes
    image, text = "visual.transformer.resblocks.{}.", "transformer.resblocks.{}."
    return Layout(
        rules=(
            *rules(IMAGE_EMBEDDING, ours="image/embedding/", theirs="visual."),
            *rules(BLOCK, ours="image/layers/", theirs=image, first=0),
            *rules(BLOCK, ours="text/layers/", theirs=text, first=0),
            *rules(OTHERS),
        ),
        ignored=(r"^(input_resolution|context_length|vocab_size|attn_mask)$",),
    )


def recognises(names: Collection[str]) -> bool:
    """Returns whether the names are those of a ViT with a text tower."""
    plain = {name.removeprefix("text.") for name in names}
    return "visual.class_embedding" in plain and "ln_final.weight" in plain


def open_state_dict(opened: Opened) -> Weights:
    """Returns the Weights of a state dict, with open_clip_config.json or without.

    Without it the activation is unknown, except for OpenAI's own files.
    """
    tensors, model = opened.tensors, opened.config.get("model_cfg", {})
    if "text.token_embedding.weight" in tensors:  # a model with a text tower of its own
        tensors = tensors.renamed(lambda name: name.removeprefix("text."))
    is_openai = "input_resolution" in tensors
    settings = _sizes(tensors)
    heads, guesses, unknown = _heads(settings, model)
    settings |= heads
    activation_is_known = is_openai or bool(model)
    if activation_is_known:
        quick = is_openai or model.get("quick_gelu", False)
        settings["model.activation"] = "quick_gelu" if quick else "gelu"
    return Weights(
        path=opened.path,
        kind="CLIP (OpenAI)" if is_openai else "CLIP (open_clip)",
        tensors=tensors,
        layout=layout,
        settings=settings,
        start=_start(tensors, settings, _preprocessing(opened)),
        guesses=guesses,
        unknown=({} if activation_is_known else {"model.activation": ACTIVATION_ADVICE}) | unknown,
    )


def _heads(settings: Settings, model: dict) -> tuple[Settings, Settings, dict[str, str]]:
    """Returns (heads that the model's configuration tells, guesses, advice)."""
    known, guesses, unknown = {}, {}, {}
    image_head = model.get("vision_cfg", {}).get("head_width")
    told = {
        "image": image_head and settings["model.image.width"] // image_head,
        "text": model.get("text_cfg", {}).get("heads"),
    }
    for tower, heads in told.items():
        if heads:
            known[f"model.{tower}.heads"] = heads
        else:
            guess, advice = heads_of(tower, settings[f"model.{tower}.width"])
            guesses |= guess
            unknown |= advice
    return known, guesses, unknown


def _preprocessing(opened: Opened) -> dict:
    """Returns preprocess_cfg. Raises UserError where it gives other pixels than jaxvl can."""
    told = opened.config.get("preprocess_cfg", {})
    processor = {"image_mean": told.get("mean"), "image_std": told.get("std")}
    other = hugging_face.other_pixels(processor)
    if told.get("interpolation", "bicubic") not in ("bicubic", "random"):
        other.append(f"interpolation={told['interpolation']!r} (jaxvl resizes bicubic)")
    if told.get("resize_mode", "shortest") not in ("shortest", "squash"):
        other.append(f"resize_mode={told['resize_mode']!r} (jaxvl knows shortest and squash)")
    if other:
        raise UserError(
            f"{opened.path}: its preprocess_cfg gives other pixels than jaxvl can: "
            f"{'; '.join(other)}"
        )
    return told


def _sizes(tensors: Tensors) -> Settings:
    image, text = "visual.transformer.resblocks.0.", "transformer.resblocks.0."
    image_width = tensors["visual.class_embedding"].shape[0]
    positions, text_width = tensors["positional_embedding"].shape
    return {
        "model.name": "clip",
        "model.embed_size": tensors["text_projection"].shape[1],
        "model.image.patch_size": tensors["visual.conv1.weight"].shape[-1],
        "model.image.layers": layer_count(tensors, r"visual\.transformer\.resblocks\.(\d+)\."),
        "model.image.width": image_width,
        "model.image.mlp_width": tensors[f"{image}mlp.c_fc.bias"].shape[0],
        "model.text.layers": layer_count(tensors, r"transformer\.resblocks\.(\d+)\."),
        "model.text.width": text_width,
        "model.text.mlp_width": tensors[f"{text}mlp.c_fc.bias"].shape[0],
        "model.text.vocabulary_size": tensors["token_embedding.weight"].shape[0],
        "model.text.positions": positions,
    }


def _start(tensors: Tensors, settings: Settings, preprocessing: dict) -> Settings:
    grid = round((tensors["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    squashes = preprocessing.get("resize_mode") == "squash"
    learned_bias = {"loss.contrastive": "sigmoid"} if LOGIT_BIAS in tensors else {}
    return {
        **start(settings["model.text.positions"]),
        "data.image_size": grid * settings["model.image.patch_size"],
        "data.eval_crop": "none" if squashes else "center",
        **learned_bias,
    }


OPEN_CLIP = Kind(open=open_state_dict, recognises=recognises, model="clip", layout=layout)
