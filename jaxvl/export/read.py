"""Exported folders opened in PyTorch: the quantities of export_check, one reader a format."""

import importlib.util
import json

import numpy as np

from jaxvl import preprocessing
from jaxvl.export import check, formats


def modeling():
    """Returns the module modeling_jaxvl, which stands alone and is found by its path."""
    spec = importlib.util.spec_from_file_location("modeling_jaxvl", formats.MODELING)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_torch(folder, exported):
    """Returns {quantity: array} of a folder of --format torch, by what lies in it alone."""
    model, prepare = modeling().load(folder)
    return _fused(model, prepare)


def read_albef(folder, exported):
    """Returns {quantity: array} of ALBEF.pth, read by modeling_jaxvl, whose names are ALBEF's."""
    import torch
    from tokenizers import Tokenizer

    module, sizes = modeling(), formats.torch_config(exported)
    state = torch.load(folder / formats.ALBEF_FILE, weights_only=True)["model"]
    model = module.Model(sizes)
    missing, left_over = model.load_state_dict(state, strict=False)
    copies = [name for name in left_over if "_m." not in name and ".decoder." not in name]
    if missing or copies:
        raise KeyError(f"{folder}: missing {missing}, left over {copies}")
    numbers = json.loads((folder / preprocessing.FILE).read_text())
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prepare = module.Prepare(sizes["tokens"], numbers, words)
    return _fused(model.eval(), prepare)


def _fused(model, prepare):
    import torch

    pictures = check.pictures()
    pixels, texts = prepare.images(pictures), prepare.texts(list(check.CAPTIONS))
    with torch.no_grad():
        image, text = model.encode_image(pixels), model.encode_text(texts)
        states, logits = model.fuse(image, text)
        words = model.word_logits(states)
    return {
        "token ids": texts.ids,
        "pixels": np.stack([prepare.resized(picture) for picture in pictures]) / 255,
        "normalised pixels": pixels.permute(0, 2, 3, 1),
        "image states": image.states,
        "text states": text.states,
        "image embeddings": image.embedding,
        "text embeddings": text.embedding,
        "fused states": states,
        "match logits": logits,
        "heat-maps": model.relevance(image, text),
        "word logits": words,
    }


def read_hf(folder, exported):
    """Returns {quantity: array} of CLIPModel and CLIPProcessor, loaded from the folder.

    Pictures are resized by Pillow: torchvision, which transformers prefers where it is installed,
    is up to one level of 255 off.
    """
    import torch
    from transformers import CLIPModel, CLIPProcessor

    model, told = CLIPModel.from_pretrained(folder, output_loading_info=True)
    if any(told.values()):
        raise KeyError(f"{folder}: {told}")
    inputs = _processed(CLIPProcessor.from_pretrained(folder, backend="pil"), exported)
    model.eval()
    with torch.no_grad():
        found = model(**inputs)
    return {
        "token ids": inputs["input_ids"],
        "normalised pixels": inputs["pixel_values"].permute(0, 2, 3, 1),
        "image embeddings": found.image_embeds,
        "text embeddings": found.text_embeds,
    }


def _processed(processor, exported):
    return processor(
        text=list(check.CAPTIONS),
        images=check.pictures(),
        padding="max_length",
        truncation=True,
        max_length=exported.config.data.max_tokens,
        return_tensors="pt",
    )


def read_open_clip(folder, exported):
    """Returns {quantity: array} of the folder as open_clip opens it; without it, as we read it."""
    import torch

    from jaxvl.export import open_clip_torch

    model = open_clip_torch.open_model(folder)
    pixels = open_clip_torch.pixels(folder, check.pictures())
    ids = open_clip_torch.token_ids(folder, check.CAPTIONS)
    with torch.no_grad():
        images, texts = model.encode_image(pixels), model.encode_text(ids)
    return {
        "token ids": ids,
        "normalised pixels": pixels.permute(0, 2, 3, 1),
        "image embeddings": images / images.norm(dim=-1, keepdim=True),
        "text embeddings": texts / texts.norm(dim=-1, keepdim=True),
    }


READERS = {
    "torch": read_torch,
    "albef": read_albef,
    "hf": read_hf,
    "open_clip": read_open_clip,
}
