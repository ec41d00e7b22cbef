"""An open_clip folder in PyTorch.

open_clip opens it where it is installed. Without open_clip a small model of our own reads the same
files; its modules have the names of OpenAI's CLIP (Radford et al. 2021).
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from jaxvl import preprocessing


def open_model(folder: Path) -> Any:
    """Returns a module with encode_image(pixels) and encode_text(ids), in evaluation mode."""
    try:
        open_clip = importlib.import_module("open_clip")
    except ImportError:
        model = Clip(_config(folder)["model_cfg"])
        model.load_state_dict(safetensors.torch.load_file(folder / "open_clip_model.safetensors"))
    else:
        model = open_clip.create_model(f"local-dir:{folder}")
    return model.eval()


def pixels(folder: Path, images: Sequence[Image.Image]) -> Tensor:
    """Returns float32 [G, 3, S, S] of images, as preprocess_cfg in the folder says.

    open_clip itself crops one pixel further on where 3, 7, 11, ... pixels are removed: it takes the
    larger half from the beginning, jaxvl and transformers the smaller one.
    """
    told = _config(folder)["preprocess_cfg"]
    crop = {"shortest": "center", "squash": "none"}[told["resize_mode"]]
    resized = [preprocessing.resized(image, told["size"], crop=crop) for image in images]
    mean, std = (torch.tensor(told[name]) for name in ("mean", "std"))
    return ((torch.from_numpy(np.stack(resized)) / 255 - mean) / std).permute(0, 3, 1, 2)


def token_ids(folder: Path, captions: Sequence[str]) -> Tensor:
    """Returns int64 [G, context_length], by the tokenizer in the folder."""
    from transformers import AutoTokenizer

    length = _config(folder)["model_cfg"]["text_cfg"]["context_length"]
    return AutoTokenizer.from_pretrained(folder)(
        list(captions),
        max_length=length,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )["input_ids"]


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "open_clip_config.json").read_text())


class Clip(nn.Module):
    """Both towers; the modules of the text tower are direct parts of the model, as in OpenAI's."""

    def __init__(self, sizes: dict[str, Any]):
        """sizes: model_cfg of open_clip_config.json."""
        super().__init__()
        image, text, size = sizes["vision_cfg"], sizes["text_cfg"], sizes["embed_dim"]
        quick, width = sizes["quick_gelu"], text["width"]
        self.visual = ImageTower(image, size, quick)
        self.token_embedding = nn.Embedding(text["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.zeros(text["context_length"], width))
        hidden = round(width * text["mlp_ratio"])
        self.transformer = Transformer(text["layers"], width, text["heads"], hidden, quick)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, size))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        if "init_logit_bias" in sizes:
            self.logit_bias = nn.Parameter(torch.zeros(()))
        self.end = text["eos_id"] if text["pool_type"] == "eos" else None

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Returns embeddings [G, E], not yet of unit length."""
        return self.visual(pixels)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Returns embeddings [G, E], not yet of unit length."""
        t = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        later = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
        t = self.ln_final(self.transformer(t, later))
        end = (ids if self.end is None else (ids == self.end).int()).argmax(-1)
        return t[torch.arange(len(ids)), end] @ self.text_projection


class ImageTower(nn.Module):
    """Pre-norm blocks over patches; the output is that of the class token."""

    def __init__(self, sizes: dict[str, Any], embed_size: int, quick: bool):
        super().__init__()
        width, patch = sizes["width"], sizes["patch_size"]
        tokens = (sizes["image_size"] // patch) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(tokens, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        heads, hidden = width // sizes["head_width"], round(width * sizes["mlp_ratio"])
        self.transformer = Transformer(sizes["layers"], width, heads, hidden, quick)
        self.proj = nn.Parameter(torch.zeros(width, embed_size))

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns [G, E]."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        v = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(v, None)[:, 0]) @ self.proj


class Transformer(nn.Module):
    """A stack of blocks."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, quick: bool):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, hidden, quick) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Returns the shape of x; mask: added to the scores of attention."""
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Block(nn.Module):
    """Self-attention and feed-forward; each normalises first and is then added."""

    def __init__(self, width: int, heads: int, hidden: int, quick: bool):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        up, down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mlp = nn.ModuleDict({"c_fc": up, "c_proj": down})
        self.quick = quick

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Returns the shape of x."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        y = y * torch.sigmoid(1.702 * y) if self.quick else nn.functional.gelu(y)
        return x + self.mlp["c_proj"](y)
