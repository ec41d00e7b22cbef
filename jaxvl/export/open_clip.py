"""--format open_clip: a folder that open_clip opens as "local-dir:FOLDER"."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from jaxvl import preprocessing
from jaxvl.export import examples
from jaxvl.export.albef import check_epsilons
from jaxvl.export.torch_folder import write_json
from jaxvl.export.types import Card, Format, Run

if TYPE_CHECKING:
    from jaxvl.interop.names import Layout

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
EPSILONS = {"image": 1e-5, "text": 1e-5}  # of LayerNorm, PyTorch's default

USE = """import open_clip

model, _, prepare = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")"""


def layout(config: ConfigDict) -> "Layout":
    """Returns the tensor names; the text has as many positions as the run reads tokens.

    open_clip pads every text to all positions, so those that the run never used are left out.
    """
    from jaxvl.interop.kinds import open_clip
    from jaxvl.interop.names import SAME

    tokens = config.data.max_tokens
    used = SAME._replace(to_theirs=lambda array, _: [array[:tokens]])
    whole = open_clip.layout(config.model)
    return whole._replace(
        rules=tuple(
            rule._replace(transform=used) if rule.ours == "text/embedding/positions" else rule
            for rule in whole.rules
        )
    )


def check(config: ConfigDict) -> None:
    """Raises UserError for an epsilon of LayerNorm other than open_clip's."""
    check_epsilons(config, EPSILONS, of="open_clip")


def write(folder: Path, run: Run, tensors: Path) -> None:
    """Writes open_clip_config.json, the weights, the tokenizer and preprocessing.json."""
    from jaxvl.export import serving_tokenizer

    os.replace(tensors, folder / WEIGHTS)
    numbers = run.preprocessing
    write_json(
        folder / CONFIG,
        {
            "model_cfg": model_config(run, _logit_bias(folder / WEIGHTS)),
            "preprocess_cfg": {
                "size": numbers["size"],
                "mean": numbers["mean"],
                "std": numbers["std"],
                "interpolation": "bicubic",
                "resize_mode": "shortest" if numbers["crop"] == "center" else "squash",
            },
        },
    )
    serving_tokenizer.make(run.tokenizer, run.config.data).save_pretrained(folder)
    write_json(folder / preprocessing.FILE, numbers)


def _logit_bias(path: Path) -> float | None:
    """Returns the bias that a sigmoid loss learned, None where there is none."""
    from safetensors import safe_open

    with safe_open(str(path), "numpy") as file:
        return float(file.get_tensor("logit_bias")) if "logit_bias" in file.keys() else None


def model_config(run: Run, logit_bias: float | None) -> dict[str, Any]:
    """Returns model_cfg: the arguments of open_clip's model."""
    from jaxvl.data.text import tokenizer

    data, model = run.config.data, run.config.model
    image, text = model.image, model.text
    if text.end_token < 0:
        end: dict[str, Any] = {"pool_type": "argmax"}
    else:
        end = {"pool_type": "eos", "eos_id": text.end_token}
    return {
        "embed_dim": model.embed_size,
        "quick_gelu": model.activation == "quick_gelu",
        **({} if logit_bias is None else {"init_logit_bias": logit_bias}),
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
            "hf_tokenizer_name": "local",  # any name: "local-dir:" takes the folder's tokenizer
            "vocab_size": text.vocabulary_size,
            "layers": text.layers,
            "width": text.width,
            "heads": text.heads,
            "mlp_ratio": text.mlp_width / text.width,
            "pad_id": max(tokenizer.special_ids(run.tokenizer).pad, 0),
            **end,
        },
    }


def read(folder: Path, run: Run) -> dict[str, np.ndarray]:
    """Returns {quantity: array} of the folder in open_clip or, without it, in our own model."""
    import torch

    from jaxvl.export import open_clip_torch

    model = open_clip_torch.open_model(folder)
    pixels = open_clip_torch.pixels(folder, examples.images())
    ids = open_clip_torch.token_ids(folder, examples.CAPTIONS)
    with torch.no_grad():
        images, texts = model.encode_image(pixels), model.encode_text(ids)
    found = {
        "token ids": ids,
        "normalised pixels": pixels.permute(0, 2, 3, 1),
        "image embeddings": images / images.norm(dim=-1, keepdim=True),
        "text embeddings": texts / texts.norm(dim=-1, keepdim=True),
        "logit scale": model.logit_scale.detach(),
    }
    if getattr(model, "logit_bias", None) is not None:
        found["logit bias"] = model.logit_bias.detach()
    return {name: value.numpy() for name, value in found.items()}


def limits(config: ConfigDict) -> list[str]:
    """Returns the line of the model card on open_clip's crop, where it matters."""
    if config.data.eval_crop == "none":
        return []
    return [
        "- open_clip's crop starts one pixel later than in training where 3, 7, 11, ... pixels are "
        "removed."
    ]


OPEN_CLIP = Format(
    model="clip",
    about="CLIP for open_clip",
    layout=layout,
    write=write,
    read=read,
    card=Card(
        title="CLIP",
        library="open_clip",
        pipeline="zero-shot-image-classification",
        tags=("clip", "image-text-retrieval"),
        use=USE,
        limits=limits,
    ),
    check=check,
)
