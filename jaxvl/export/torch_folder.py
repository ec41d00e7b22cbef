"""--format torch: a folder that plain PyTorch opens, with the code of the model in it.

Tensors are named as in ALBEF's own checkpoints, without the copies that those have of tied weights.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from jaxvl import preprocessing
from jaxvl.data.images import upright
from jaxvl.data.text import words
from jaxvl.export import examples, reader
from jaxvl.export.types import Card, Format, Option, Run

if TYPE_CHECKING:
    from jaxvl.export.modeling_jaxvl import Model, Prepare
    from jaxvl.interop.names import Layout

MODELING = Path(__file__).with_name("modeling_jaxvl.py")

USE = """import sys; sys.path.insert(0, "FOLDER")
from modeling_jaxvl import load
from PIL import Image

model, prepare = load("FOLDER")
image = model.encode_image(prepare.images([Image.open("photo.jpg")]))
text = model.encode_text(prepare.texts(["a dog in the snow"]))
print(image.embedding @ text.embedding.T, model.match(image, text))
print(model.word_heatmaps(image, text)[0])"""


def layout(config: ConfigDict) -> "Layout":
    """Returns the tensor names."""
    from jaxvl.interop.kinds import albef

    return albef.layout(config.model)._replace(writes_copies=False)


def write(folder: Path, run: Run, tensors: Path) -> None:
    """Writes model.safetensors, config.json, preprocessing.json, tokenizer.json and the code."""
    os.replace(tensors, folder / "model.safetensors")
    write_json(folder / "config.json", model_config(run))
    write_json(folder / preprocessing.FILE, run.preprocessing)
    run.tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copyfile(MODELING, folder / MODELING.name)
    shutil.copyfile(upright.__file__, folder / "jaxvl_images.py")
    write_reader(folder, run)


def write_reader(folder: Path, run: Run) -> None:
    """Writes jaxvl_texts.py and, where the data has such words, jaxvl_words.py."""
    shutil.copyfile(reader.__file__, folder / "jaxvl_texts.py")
    if run.config.data.words:
        shutil.copyfile(words.__file__, folder / "jaxvl_words.py")


def model_config(run: Run) -> dict[str, Any]:
    """Returns config.json: sizes, what the tokens are, and the layer that heat-maps explain."""
    config = run.config
    return {
        "architecture": "jaxvl-albef",
        "step": run.step,
        "weights": run.weights,
        "image_size": config.data.image_size,
        "embed_size": config.model.embed_size,
        "fusion_tokens": config.model.fusion_tokens,
        "match_read": config.model.match_read,
        "image": config.model.image.to_dict(),
        "text": config.model.text.to_dict(),
        "heatmap": {"layer": config.softmask.layer, "score": config.softmask.score},
        "tokens": tokens_of(run),
    }


def tokens_of(run: Run) -> dict[str, Any]:
    """Returns what a `jaxvl.export.reader.Reader` must be told of the tokens."""
    from jaxvl.data.text import tokenizer

    data, special = run.config.data, tokenizer.special_ids(run.tokenizer)._asdict()
    return {
        "max_tokens": data.max_tokens,
        "max_words": data.max_words,
        **({"words": data.words} if data.words else {}),
        "add_sep": data.add_sep,
        "cleans": tokenizer.cleans(run.tokenizer),
        **special,
        "pad": max(special["pad"], 0),
    }


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes JSON, indented."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read(folder: Path, run: Run) -> dict[str, np.ndarray]:
    """Returns {quantity: array}, computed with the files in the folder and nothing else."""
    return answers(*module_in(folder).load(folder))


def module_in(folder: Path) -> ModuleType:
    """Returns the module modeling_jaxvl of an exported folder."""
    spec = importlib.util.spec_from_file_location("modeling_jaxvl", folder / MODELING.name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(model: "Model", prepare: "Prepare") -> dict[str, np.ndarray]:
    """Returns {quantity: array} of the fixed images and texts, as pairs."""
    import torch

    images = examples.images()
    pixels, texts = prepare.images(images), prepare.texts(examples.CAPTIONS)
    with torch.no_grad():
        image, text = model.encode_image(pixels), model.encode_text(texts)
        states, logits = model.fuse(image, text)
        words = model.word_logits(states)
    found = {
        "token ids": texts.ids,
        "normalised pixels": pixels.permute(0, 2, 3, 1),
        "image states": image.states,
        "text states": text.states,
        "image embeddings": image.embedding,
        "text embeddings": text.embedding,
        "fused states": states,
        "match logits": logits,
        "heat-maps": model.relevance(image, text),
        "word logits": words,
        "temperature": model.temp.detach(),
    }
    resized = np.stack([prepare.resized(image) for image in images])
    return {"pixels": resized / 255, **{name: value.numpy() for name, value in found.items()}}


def heatmap_inputs(config: ConfigDict) -> list[str]:
    """Returns the line of the model card on how heat-maps are computed."""
    return [
        f"- heat-maps: Grad-CAM of the match score ({config.softmask.score}) in fusion layer "
        f"{config.softmask.layer} of {config.model.text.fusion_layers}, counted from 0"
    ]


def write_and_read_onnx(folder: Path, run: Run) -> dict[str, np.ndarray]:
    """Writes three ONNX graphs; returns {"onnx " + quantity: array} by onnxruntime."""
    from jaxvl.export import onnx

    return onnx.write_and_read(folder)


TORCH = Format(
    model="albef",
    about="SoftMask and ALBEF: a folder that needs plain PyTorch and nothing else",
    layout=layout,
    write=write,
    read=read,
    card=Card(
        title="ALBEF",
        library="pytorch",
        tags=("albef", "softmask", "image-text-retrieval", "image-text-matching"),
        use=USE,
        inputs=heatmap_inputs,
    ),
    options={
        "onnx": Option(
            about="three ONNX graphs as well, compared in onnxruntime",
            write_and_read=write_and_read_onnx,
            libraries=("onnx", "onnxscript", "onnxruntime"),
            extra="onnx",
        )
    },
)
