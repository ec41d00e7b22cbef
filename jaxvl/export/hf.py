"""--format hf: Hugging Face's CLIPModel and CLIPProcessor."""

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from jaxvl import preprocessing
from jaxvl.errors import UserError
from jaxvl.export import examples
from jaxvl.export.torch_folder import tokens_of, write_json, write_reader
from jaxvl.export.types import Card, Format, Run

if TYPE_CHECKING:
    from jaxvl.interop.names import Layout

HEATMAPS = Path(__file__).with_name("clip_heatmaps.py")
LARGEST_ID = 2  # the eos_token_id that means "the text ends at its largest id"

USE = """from PIL import Image
from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained("FOLDER")
processor = CLIPProcessor.from_pretrained("FOLDER", backend="pil")  # torchvision resizes otherwise
inputs = processor(text=["a dog in the snow"], images=Image.open("photo.jpg"), padding=True,
                   truncation=True, return_tensors="pt")
print(model(**inputs).logits_per_image)

import sys; sys.path.insert(0, "FOLDER")
from jaxvl_heatmaps import word_heatmaps

print(word_heatmaps(model, processor, Image.open("photo.jpg"), "a dog in the snow"))"""


def layout(config: ConfigDict) -> "Layout":
    """Returns the tensor names."""
    from jaxvl.interop.kinds import clip

    return clip.layout(config.model)


def check(config: ConfigDict) -> None:
    """Raises UserError for an end token that CLIPModel cannot express."""
    if config.model.text.end_token == LARGEST_ID:
        raise UserError(
            f"model.text.end_token={LARGEST_ID} cannot be exported as hf, because it means the "
            "largest id there; use --format open_clip"
        )


def write(folder: Path, run: Run, tensors: Path) -> None:
    """Writes the files of CLIPModel and CLIPProcessor, preprocessing.json and jaxvl_heatmaps.py."""
    from transformers import CLIPConfig, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from jaxvl.export import serving_tokenizer

    os.replace(tensors, folder / "model.safetensors")
    CLIPConfig(**model_config(run)).save_pretrained(folder)
    numbers = run.preprocessing
    side, crops = numbers["size"], numbers["crop"] == "center"
    square = {"height": side, "width": side}
    images = CLIPImageProcessorPil(
        size={"shortest_edge": side} if crops else square,
        crop_size=square,
        do_center_crop=crops,
        image_mean=numbers["mean"],
        image_std=numbers["std"],
    )
    words = serving_tokenizer.make(run.tokenizer, run.config.data)
    CLIPProcessor(image_processor=images, tokenizer=words).save_pretrained(folder)
    serving_tokenizer.save_bpe_files(run.tokenizer, folder)
    write_json(folder / preprocessing.FILE, numbers)
    shutil.copyfile(HEATMAPS, folder / "jaxvl_heatmaps.py")
    write_reader(folder, run)


def model_config(run: Run) -> dict[str, Any]:
    """Returns the arguments of CLIPConfig, and `jaxvl`: what heat-maps must know of the tokens."""
    from jaxvl.data.text import tokenizer

    model, special = run.config.model, tokenizer.special_ids(run.tokenizer)
    end = model.text.end_token
    return {
        "architectures": ["CLIPModel"],
        "projection_dim": model.embed_size,
        "vision_config": {
            **_tower(model, "image"),
            "patch_size": model.image.patch_size,
            "image_size": run.config.data.image_size,
        },
        "text_config": {
            **_tower(model, "text"),
            "vocab_size": model.text.vocabulary_size,
            "max_position_embeddings": model.text.positions,
            "bos_token_id": special.cls,
            "eos_token_id": LARGEST_ID if end < 0 else end,
            "pad_token_id": max(special.pad, 0),
        },
        "jaxvl": tokens_of(run),
    }


def _tower(model: ConfigDict, tower: str) -> dict[str, Any]:
    sizes = model[tower]
    return {
        "num_hidden_layers": sizes.layers,
        "hidden_size": sizes.width,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.mlp_width,
        "layer_norm_eps": sizes.norm_epsilon,
        "hidden_act": model.activation,
        "projection_dim": model.embed_size,
    }


def read(folder: Path, run: Run) -> dict[str, np.ndarray]:
    """Returns {quantity: array} of CLIPModel and CLIPProcessor, loaded from the folder.

    Images are resized by Pillow. torchvision, which transformers prefers where it is installed,
    differs by up to one level of 255.
    """
    import torch
    from transformers import CLIPModel, CLIPProcessor

    loaded: Any = CLIPModel.from_pretrained(folder, output_loading_info=True)
    model, problems = loaded
    if any(problems.values()):
        raise KeyError(f"CLIPModel: {problems}")
    processor: Any = CLIPProcessor.from_pretrained(folder, backend="pil")
    inputs = processor(
        text=list(examples.CAPTIONS),
        images=examples.images(),
        padding="max_length",
        truncation=True,
        max_length=run.config.data.max_tokens,
        return_tensors="pt",
    )
    with torch.no_grad():
        found = model.eval()(**inputs)
    return {
        "token ids": inputs["input_ids"].numpy(),
        "normalised pixels": inputs["pixel_values"].permute(0, 2, 3, 1).numpy(),
        "image embeddings": found.image_embeds.numpy(),
        "text embeddings": found.text_embeds.numpy(),
        "logit scale": model.logit_scale.detach().numpy(),
        "heat-maps": _heatmaps(folder, model, processor, run.config),
    }


def _heatmaps(folder: Path, model: Any, processor: Any, config: ConfigDict) -> np.ndarray:
    """Returns float32 [G, L, P]: the map of each word in turn, then zeros."""
    sys.path.insert(0, str(folder))
    word_heatmaps = importlib.import_module("jaxvl_heatmaps").word_heatmaps
    patches = (config.data.image_size // config.model.image.patch_size) ** 2
    found = np.zeros((len(examples.CAPTIONS), config.data.max_tokens, patches), np.float32)
    for pair, (image, caption) in enumerate(zip(examples.images(), examples.CAPTIONS)):
        for word, (_, relevance) in enumerate(word_heatmaps(model, processor, image, caption)):
            found[pair, word] = relevance.flatten()
    return found


HF = Format(
    model="clip",
    about="CLIP for CLIPModel and CLIPProcessor of transformers",
    layout=layout,
    write=write,
    read=read,
    card=Card(
        title="CLIP",
        library="transformers",
        pipeline="zero-shot-image-classification",
        tags=("clip", "image-text-retrieval"),
        use=USE,
    ),
    check=check,
)
