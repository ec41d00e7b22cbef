"""The folders that an export is: one writer a format, into a folder that is there and empty.

torch      plain PyTorch, self-contained: modeling_jaxvl.py reads the rest of the folder
albef      one file in the layout of ALBEF's own checkpoints
hf         Hugging Face's CLIPModel and CLIPProcessor
open_clip  open_clip's "local-dir:FOLDER"
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvl import preprocessing
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError
from jaxvl.export import serving_tokenizer
from jaxvl.interop import layouts, names
from jaxvl.models import bert, clip, vit

MODELING = Path(__file__).with_name("modeling_jaxvl.py")
ALBEF_FILE = "ALBEF.pth"
OPEN_CLIP_FILE = "open_clip_model.safetensors"


class Exported(NamedTuple):
    """What is exported: a run at one step, its parameters as NumPy arrays."""

    config: Any
    params: Any
    tokenizer: Any
    step: int
    weights: str  # "ema" or "online"
    scores: dict  # of results.json, {} where there is none


class Format(NamedTuple):
    """write(folder, exported) makes the files; model: the model.name that it is for."""

    model: str
    write: Callable


def write_torch(folder, exported):
    """Writes model.safetensors, config.json, preprocessing.json, tokenizer and modeling_jaxvl.py.

    Tensors are named as ALBEF's, without the copies that tied weights have there.
    """
    layout = layouts.albef(exported.config.model)._replace(writes_copies=False)
    _save_safetensors(names.to_torch(exported.params, layout), folder / "model.safetensors")
    _write_json(folder / "config.json", torch_config(exported))
    _write_json(folder / preprocessing.FILE, preprocessing.numbers_of(exported.config))
    exported.tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copyfile(MODELING, folder / MODELING.name)


def torch_config(exported):
    """Returns config.json of --format torch: sizes, tokens, the layer that heat-maps read."""
    config = exported.config
    model = config.model.to_dict()
    sizes = {tower: model[tower] for tower in ("image", "text")}
    epsilons = {"image": vit.EPSILON, "text": bert.EPSILON}
    special = tokenizer.special_ids(exported.tokenizer)._asdict()
    return {
        "architecture": "jaxvl-albef",
        "step": exported.step,
        "weights": exported.weights,
        "image_size": config.data.image_size,
        "embed_size": config.model.embed_size,
        **{
            tower: {**sizes[tower], "norm_epsilon": sizes[tower]["norm_epsilon"] or epsilons[tower]}
            for tower in sizes
        },
        "heatmap": {"layer": config.softmask.layer, "score": config.softmask.score},
        "tokens": {
            "max_tokens": config.data.max_tokens,
            "max_words": config.data.max_words,
            "add_sep": config.data.add_sep,
            "cleans": tokenizer.cleans(exported.tokenizer),
            **special,
            "pad": max(special["pad"], 0),
        },
    }


def write_albef(folder, exported):
    """Writes ALBEF.pth: tensors under "model", the momentum twins as copies of the weights.

    ALBEF's own code starts from both. Raises UserError for sizes that it does not know.
    """
    import torch

    sizes = exported.config.model
    _check_epsilon(sizes, image=vit.EPSILON, text=bert.EPSILON, of="ALBEF's own code")
    tensors = names.to_torch(exported.params, layouts.albef(sizes))
    twins = {"twins": {name: exported.params[name] for name in _TWINS}}
    tensors |= names.to_torch(twins, layouts.albef_slots(sizes))
    state = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    with open(folder / ALBEF_FILE, "wb") as file:
        torch.save({"model": state}, file)
    exported.tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / preprocessing.FILE, preprocessing.numbers_of(exported.config))


_TWINS = ("image", "text", "fusion", "word_head", "image_projection", "text_projection")


def write_hf(folder, exported):
    """Writes what transformers' CLIPModel and CLIPProcessor read."""
    from transformers import CLIPConfig, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config, model = exported.config, exported.config.model
    towers = {tower: _hf_tower(model, tower) for tower in ("image", "text")}
    special = tokenizer.special_ids(exported.tokenizer)
    CLIPConfig(
        architectures=["CLIPModel"],
        projection_dim=model.embed_size,
        vision_config={
            **towers["image"],
            "patch_size": model.image.patch_size,
            "image_size": config.data.image_size,
        },
        text_config={
            **towers["text"],
            "vocab_size": model.text.vocabulary_size,
            "max_position_embeddings": model.text.positions,
            "bos_token_id": special.cls,
            "eos_token_id": _end_token(model),
            "pad_token_id": max(special.pad, 0),
        },
    ).save_pretrained(folder)
    tensors = names.to_torch(exported.params, layouts.clip())
    _save_safetensors(tensors, folder / "model.safetensors")
    numbers = preprocessing.numbers_of(config)
    side, center = numbers["size"], numbers["crop"] == "center"
    square = {"height": side, "width": side}
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": side} if center else square,
        crop_size=square,
        do_center_crop=center,
        image_mean=numbers["mean"],
        image_std=numbers["std"],
    )
    words = serving_tokenizer.make(exported.tokenizer, config.data)
    CLIPProcessor(image_processor=pictures, tokenizer=words).save_pretrained(folder)
    serving_tokenizer.save_bpe_files(exported.tokenizer, folder)
    _write_json(folder / preprocessing.FILE, numbers)


def _hf_tower(model, tower):
    sizes = model[tower]
    return {
        "num_hidden_layers": sizes.layers,
        "hidden_size": sizes.width,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.mlp_width,
        "layer_norm_eps": sizes.norm_epsilon or clip.EPSILON,
        "hidden_act": model.activation,
        "projection_dim": model.embed_size,
    }


def _end_token(model):
    """The id at which Hugging Face's CLIP reads a text; 2 stands for "the largest id" there."""
    end = model.text.end_token
    if end == 2:
        raise UserError(
            "model.text.end_token=2 cannot be said to Hugging Face's CLIP, where 2 means the "
            "largest id; use --format open_clip"
        )
    return 2 if end < 0 else end


def write_open_clip(folder, exported):
    """Writes open_clip_config.json and the weights, which open_clip opens as "local-dir:FOLDER"."""
    config, model = exported.config, exported.config.model
    _check_epsilon(model, image=clip.EPSILON, text=clip.EPSILON, of="open_clip")
    tensors = names.to_torch(exported.params, layouts.open_clip())
    # open_clip pads texts to all positions that there are: those that the run reads, and no more.
    tensors["positional_embedding"] = tensors["positional_embedding"][: config.data.max_tokens]
    _save_safetensors(tensors, folder / OPEN_CLIP_FILE)
    numbers = preprocessing.numbers_of(config)
    _write_json(
        folder / "open_clip_config.json",
        {
            "model_cfg": open_clip_sizes(exported),
            "preprocess_cfg": {
                "size": numbers["size"],
                "mean": numbers["mean"],
                "std": numbers["std"],
                "interpolation": "bicubic",
                "resize_mode": "shortest" if numbers["crop"] == "center" else "squash",
            },
        },
    )
    words = serving_tokenizer.make(exported.tokenizer, config.data)
    words.save_pretrained(folder)
    _write_json(folder / preprocessing.FILE, numbers)


def open_clip_sizes(exported):
    """Returns open_clip's model_cfg."""
    data, model = exported.config.data, exported.config.model
    image, text = model.image, model.text
    special = tokenizer.special_ids(exported.tokenizer)
    end = (
        {"pool_type": "argmax"}
        if text.end_token < 0
        else {
            "pool_type": "eos",
            "eos_id": text.end_token,
        }
    )
    return {
        "embed_dim": model.embed_size,
        "quick_gelu": model.activation == "quick_gelu",
        "vision_cfg": {
            "image_size": data.image_size,
            "patch_size": image.patch_size,
            "layers": image.layers,
            "width": image.width,
            "head_width": image.width // image.heads,
            "mlp_ratio": image.mlp_width / image.width,
        },
        "text_cfg": {
            "context_length": data.max_tokens,
            "hf_tokenizer_name": "local",  # any name: with "local-dir:" it is the folder's own
            "vocab_size": text.vocabulary_size,
            "layers": text.layers,
            "width": text.width,
            "heads": text.heads,
            "mlp_ratio": text.mlp_width / text.width,
            "pad_id": max(special.pad, 0),
            **end,
        },
    }


def _check_epsilon(model, *, image, text, of):
    for tower, known in (("image", image), ("text", text)):
        epsilon = model[tower].norm_epsilon
        if epsilon not in (0, known):
            raise UserError(
                f"model.{tower}.norm_epsilon={epsilon} is not {known}, which is the "
                f"only one that {of} knows"
            )


def _save_safetensors(tensors, path):
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    save_file(arrays, str(path), metadata={"format": "pt"})


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


FORMATS = {
    "torch": Format("albef", write_torch),
    "albef": Format("albef", write_albef),
    "hf": Format("clip", write_hf),
    "open_clip": Format("clip", write_open_clip),
}
