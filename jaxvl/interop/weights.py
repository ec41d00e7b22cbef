"""What a file or folder of weights is, found out by looking at it.

Each kind says which keys of the configuration follow from it; what a file does not tell (a bare
state dict knows no activation) is not among them.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvl.errors import UserError
from jaxvl.interop import layouts, tensor_files
from jaxvl.preprocessing import PIXEL_MEAN, PIXEL_STD

HEAD_WIDTH = 64  # of all published CLIP and ALBEF models, whose state dicts do not say it
ALBEF_TRAINING = {  # state of its training: what it is, and why it is not read
    r"^(visual_encoder|text_encoder|vision_proj|text_proj)_m\.": (
        "momentum twins",
        "a run's twins begin as copies of its weights",
    ),
    r"^(image_queue|text_queue|idx_queue|queue_ptr|ptr_queue)$": (
        "queues",
        "a run's queue fills with its own pictures and texts",
    ),
}
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # holds the former since transformers 5
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")


class Weights(NamedTuple):
    """One source of weights.

    layout: (config.model) -> names.Layout. settings: {dotted key: value} of the configuration that
    it was trained with. resolution: pixels of a side that its positions are for, or None.
    tokenizer: path of its tokenizer, "" where it brings none. notes: what to tell the user.
    layers: of a BERT that is to become ALBEF's text; else None. training: {regular expression of
    names that are the state of its training, not weights: (what they are, why they are not read)}.
    """

    path: str
    kind: str
    tensors: Mapping
    layout: Callable
    settings: dict[str, Any]
    tokenizer: str
    notes: tuple[str, ...] = ()
    layers: int | None = None
    training: Mapping = {}


def open_weights(path):
    """Opens Weights of PyTorch: a Hugging Face or open_clip folder, or a file of tensors.

    Raises UserError naming what cannot be read or is not known.
    """
    path = Path(path)
    open_clip = path / "open_clip_config.json"
    if not path.is_dir() or open_clip.is_file():
        told = tensor_files.read_json(open_clip) if open_clip.is_file() else {}
        tensors = tensor_files.open_tensors(path)
        try:
            weights = _of_names(str(path), tensors, told)
        except UserError:
            raise
        except KeyError as error:
            raise UserError(f"{path} lacks the tensor {error}") from None
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"{path} names a known model, but has not its shapes") from error
    else:
        config, tensors = open_hugging_face(path, HUGGING_FACE)
        try:
            weights = HUGGING_FACE[config["model_type"]](str(path), tensors, config)
        except UserError:
            raise
        except KeyError as error:
            raise UserError(f"{path}/config.json lacks the key {error}") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{path}/config.json has a value of another kind: {error}") from error
    _check_settings(path, weights.settings)
    return weights._replace(tokenizer=tokenizer_of(path))


def _check_settings(path, settings):
    for key, value in settings.items():
        number = (int, float) if key.endswith("norm_epsilon") else int
        wrong = key.startswith(("model.image.", "model.text.")) and not (
            isinstance(value, number) and value > 0
        )
        if wrong:
            raise UserError(f"{path}: {key} cannot be {value!r}")
    end = settings.get("model.text.end_token", 0)
    if settings.get("model.name") == "clip" and end >= settings["model.text.vocabulary_size"]:
        raise UserError(f"{path}: no word has the number {end} of the token that ends a text")


def open_hugging_face(path, kinds):
    """Returns (config, tensors) of a Hugging Face folder whose model_type is one of `kinds`."""
    path = Path(path)
    if not (path / "config.json").is_file():
        raise UserError(f"{path} has no config.json, so nothing says what its tensors are")
    config = tensor_files.read_json(path / "config.json")
    kind = config.get("model_type")
    if kind not in kinds:
        raise UserError(f"{path}: model_type {kind!r} is not known, only {', '.join(kinds)}")
    return config, tensor_files.open_tensors(path)


def tokenizer_of(path):
    """Returns the path of the tokenizer that a folder of weights holds, "" where there is none."""
    path = Path(path)
    return str(path) if any((path / name).is_file() for name in TOKENIZER_FILES) else ""


def _clip(path, tensors, config):
    image, text = config["vision_config"], config["text_config"]
    activations = {tower.get("hidden_act", "quick_gelu") for tower in (image, text)}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        raise UserError(f"{path}: hidden_act {', '.join(sorted(activations))} is not known")
    settings = {
        "model.name": "clip",
        "model.activation": activations.pop(),
        "model.embed_size": config["projection_dim"],
        "model.image.patch_size": image["patch_size"],
        **_tower("image", image, 1e-5),
        **_tower("text", text, 1e-5),
        "model.text.vocabulary_size": text["vocab_size"],
        "model.text.positions": text["max_position_embeddings"],
        "data.image_size": image["image_size"],
    }
    if text.get("eos_token_id", 2) != 2:  # 2: written before it counted; the largest id
        settings["model.text.end_token"] = text["eos_token_id"]
    if _pixels(path) != (list(PIXEL_MEAN), list(PIXEL_STD)):
        raise UserError(
            f"{path}/{PREPROCESSOR} normalises pictures with mean and deviation {_pixels(path)}; "
            "jaxvl knows CLIP's only"
        )
    told = _preprocessor(path)
    if "do_center_crop" in told:
        settings["data.eval_crop"] = "center" if _keeps_proportions(told) else "none"
    notes, layout = _crop_notes(told, image["image_size"]), layouts.clip()
    return Weights(path, "CLIP (Hugging Face)", tensors, lambda _: layout, settings, "", notes)


def _vit(path, tensors, config):
    kind = config["model_type"]
    _check_gelu(path, config)
    prefix = prefix_of(tensors, kind)
    settings = {
        "model.image.patch_size": config["patch_size"],
        **_tower("image", config, 1e-12),
        "data.image_size": config["image_size"],
    }
    if kind == "deit":
        tensors = _without_distillation(tensors, f"{prefix}embeddings.position_embeddings")
    notes = ()
    if _pixels(path) != (list(PIXEL_MEAN), list(PIXEL_STD)):
        notes = (
            "its pictures had another mean and deviation than this run's; so had those that "
            "ALBEF starts from",
        )
    layout = layouts.vit(prefix=prefix)
    return Weights(path, f"{kind} (Hugging Face)", tensors, lambda _: layout, settings, "", notes)


def _without_distillation(tensors, name):
    def positions():
        return np.delete(tensors[name], 1, axis=1)  # class token, distillation token, patches

    readers = {other: lambda other=other: tensors[other] for other in tensors}
    return tensor_files.Tensors(readers | ({name: positions} if name in tensors else {}))


def _bert(path, tensors, config):
    if config["model_type"] != "bert":
        raise UserError(
            f"{path} is a {config['model_type']}, which fills in masked words but is no part of "
            "a model with pictures; ALBEF starts from a bert"
        )
    settings = text_settings(path, config)
    layers = settings.pop("model.text.layers")
    prefix = prefix_of(tensors, "bert")

    def in_albef(sizes):
        return layouts.bert_in_albef(sizes, prefix=prefix, layers=layers)

    return Weights(path, "bert (Hugging Face)", tensors, in_albef, settings, "", layers=layers)


def text_settings(path, config):
    """Returns the settings that follow from the config.json of a BERT or RoBERTa."""
    _check_gelu(path, config)
    return {
        **_tower("text", config, 1e-12),
        "model.text.vocabulary_size": config["vocab_size"],
        "model.text.positions": config["max_position_embeddings"],
    }


def prefix_of(tensors, kind):
    """Returns what stands before the names of a tower: "bert." where it has a head, or ""."""
    return f"{kind}." if any(name.startswith(f"{kind}.") for name in tensors) else ""


def _check_gelu(path, config):
    if config.get("hidden_act", "gelu") != "gelu":
        raise UserError(f"{path}: hidden_act {config['hidden_act']!r} is not known, only 'gelu'")


def _tower(name, config, epsilon):
    return {
        f"model.{name}.layers": config.get("num_hidden_layers", 12),
        f"model.{name}.width": config["hidden_size"],
        f"model.{name}.heads": config["num_attention_heads"],
        f"model.{name}.mlp_width": config["intermediate_size"],
        f"model.{name}.norm_epsilon": config.get("layer_norm_eps", epsilon),
    }


def _preprocessor(path):
    path = Path(path)
    if (path / PREPROCESSOR).is_file():
        return tensor_files.read_json(path / PREPROCESSOR)
    if (path / PROCESSOR).is_file():
        return tensor_files.read_json(path / PROCESSOR).get("image_processor") or {}
    return {}


def _keeps_proportions(preprocessor):
    """Whether pictures are resized by their shorter side and cropped, not made square."""
    size = preprocessor.get("size", {})
    return preprocessor["do_center_crop"] and not (isinstance(size, dict) and "height" in size)


def _crop_notes(preprocessor, image_size):
    size = preprocessor.get("size") or image_size
    shorter = size.get("shortest_edge", image_size) if isinstance(size, dict) else size
    if shorter == image_size:
        return ()
    return (
        f"its pictures were resized to {shorter} pixels before {image_size} were cropped; here "
        f"they are resized to {image_size}",
    )


def _pixels(path):
    told = _preprocessor(path)
    return told.get("image_mean", list(PIXEL_MEAN)), told.get("image_std", list(PIXEL_STD))


def _of_names(path, tensors, told):
    """The Weights of a state dict that is known by its names alone, or with open_clip's config."""
    if "visual_encoder.pos_embed" in tensors:
        return _albef(path, tensors)
    custom = "text.token_embedding.weight" in tensors  # open_clip's models with a text tower apart
    if custom:
        tensors = tensors.renamed(lambda name: name.removeprefix("text."))
    if "visual.class_embedding" in tensors and "ln_final.weight" in tensors:
        return _open_clip(path, tensors, told)
    if "vision_model.embeddings.class_embedding" in tensors or any(
        "encoder.layer." in n for n in tensors
    ):
        raise UserError(f"{path} looks like Hugging Face's; give its folder with config.json")
    raise UserError(
        f"{path}: no known model; its tensors are named {', '.join(sorted(tensors)[:3])} ..."
    )


def _open_clip(path, tensors, told):
    openai = "input_resolution" in tensors
    squashed = told.get("preprocess_cfg", {}).get("resize_mode") == "squash"
    told = told.get("model_cfg", {})
    image_width = tensors["visual.class_embedding"].shape[0]
    positions, width = tensors["positional_embedding"].shape
    patch = tensors["visual.conv1.weight"].shape[-1]
    grid = round((tensors["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    image_head = told.get("vision_cfg", {}).get("head_width")
    settings = {
        "model.name": "clip",
        "model.embed_size": tensors["text_projection"].shape[1],
        "model.image.patch_size": patch,
        "model.image.layers": _layers(tensors, r"visual\.transformer\.resblocks\.(\d+)\."),
        "model.image.width": image_width,
        "model.image.mlp_width": tensors["visual.transformer.resblocks.0.mlp.c_fc.bias"].shape[0],
        "model.text.layers": _layers(tensors, r"transformer\.resblocks\.(\d+)\."),
        "model.text.width": width,
        "model.text.mlp_width": tensors["transformer.resblocks.0.mlp.c_fc.bias"].shape[0],
        "model.text.vocabulary_size": tensors["token_embedding.weight"].shape[0],
        "model.text.positions": positions,
        "data.image_size": grid * patch,
        "data.eval_crop": "none" if squashed else "center",
    }
    image_heads = image_head and image_width // image_head
    text_heads = told.get("text_cfg", {}).get("heads")
    settings |= _heads("image", image_width, image_heads) | _heads("text", width, text_heads)
    if openai or told:
        quick = openai or told.get("quick_gelu", False)
        settings["model.activation"] = "quick_gelu" if quick else "gelu"
    kind = "CLIP (OpenAI)" if openai else "CLIP (open_clip)"
    return Weights(path, kind, tensors, lambda _: layouts.open_clip(), settings, "")


def _albef(path, tensors):
    bert = "bert." if "text_encoder.bert.embeddings.word_embeddings.weight" in tensors else ""
    text = f"text_encoder.{bert}"
    if f"{text}embeddings.word_embeddings.weight" not in tensors:
        raise UserError(f"{path} has ALBEF's picture encoder, but not its text encoder")
    words, width = tensors[f"{text}embeddings.word_embeddings.weight"].shape
    image_width, _, _, patch = tensors["visual_encoder.patch_embed.proj.weight"].shape
    grid = round((tensors["visual_encoder.pos_embed"].shape[1] - 1) ** 0.5)
    layers = _layers(tensors, rf"{re.escape(text)}encoder\.layer\.(\d+)\.")
    fusion = {n for n in tensors if n.startswith(text) and "crossattention.self.query.weight" in n}
    settings = {
        "model.name": "albef",
        "model.image.patch_size": patch,
        "model.image.layers": _layers(tensors, r"visual_encoder\.blocks\.(\d+)\."),
        "model.image.width": image_width,
        "model.image.mlp_width": tensors["visual_encoder.blocks.0.mlp.fc1.bias"].shape[0],
        "model.text.layers": layers - len(fusion),
        "model.text.fusion_layers": len(fusion),
        "model.text.width": width,
        "model.text.mlp_width": tensors[f"{text}encoder.layer.0.intermediate.dense.bias"].shape[0],
        "model.text.vocabulary_size": words,
        "model.text.positions": tensors[f"{text}embeddings.position_embeddings.weight"].shape[0],
        "data.image_size": grid * patch,
    }
    settings |= _heads("image", image_width, None) | _heads("text", width, None)
    if "text_proj.weight" in tensors:
        settings["model.embed_size"] = tensors["text_proj.weight"].shape[0]

    def layout(sizes):
        return layouts.albef(sizes, bert=bert)

    return Weights(path, "ALBEF", tensors, layout, settings, "", training=ALBEF_TRAINING)


def _heads(tower, width, told):
    if told is None and width % HEAD_WIDTH:
        return {}
    return {f"model.{tower}.heads": told or width // HEAD_WIDTH}


def _layers(tensors, pattern):
    numbers = [int(found[1]) for found in map(re.compile(pattern).match, tensors) if found]
    return max(numbers, default=-1) + 1


HUGGING_FACE = {"clip": _clip, "vit": _vit, "deit": _vit, "bert": _bert, "roberta": _bert}
