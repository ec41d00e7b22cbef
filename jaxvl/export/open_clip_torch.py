"""An open_clip folder in PyTorch: by open_clip where it is installed, else by a small reading of
the same files, whose modules have the names of OpenAI's CLIP (Radford et al. 2021).
"""

import json

import numpy as np
import torch
from torch import nn

from jaxvl import preprocessing


def open_model(folder):
    """Returns a module with encode_image(pixels) and encode_text(ids), in evaluation mode."""
    try:
        import open_clip
    except ImportError:
        import safetensors.torch

        model = Clip(_config(folder)["model_cfg"])
        model.load_state_dict(safetensors.torch.load_file(folder / "open_clip_model.safetensors"))
    else:
        model = open_clip.create_model(f"local-dir:{folder}")
    return model.eval()


def pixels(folder, pictures):
    """Returns float32 [G, 3, S, S] of pictures (PIL), as the folder's preprocess_cfg says.

    But for one pixel: of 3, 7, 11, ... pixels beside the square in the middle, open_clip leaves the
    larger half before it, jaxvl and transformers the smaller.
    """
    told = _config(folder)["preprocess_cfg"]
    crop = {"shortest": "center", "squash": "none"}[told["resize_mode"]]
    resized = [preprocessing.resized(one, told["size"], crop=crop) for one in pictures]
    mean, std = (torch.tensor(told[name]) for name in ("mean", "std"))
    return ((torch.from_numpy(np.stack(resized)) / 255 - mean) / std).permute(0, 3, 1, 2)


def token_ids(folder, captions):
    """Returns int64 [G, context_length], by the tokenizer that lies in the folder."""
    from transformers import AutoTokenizer

    length = _config(folder)["model_cfg"]["text_cfg"]["context_length"]
    return AutoTokenizer.from_pretrained(folder)(
        list(captions),
        max_length=length,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )["input_ids"]


def _config(folder):
    return json.loads((folder / "open_clip_config.json").read_text())


class Clip(nn.Module):
    """Both towers; the text tower's modules stand beside the image tower, as OpenAI's do."""

    def __init__(self, sizes):
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
        self.end = text["eos_id"] if text["pool_type"] == "eos" else None

    def encode_image(self, pixels):
        return self.visual(pixels)

    def encode_text(self, ids):
        t = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        later = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
        t = self.ln_final(self.transformer(t, later))
        end = (ids if self.end is None else (ids == self.end).int()).argmax(-1)
        return t[torch.arange(len(ids)), end] @ self.text_projection


class ImageTower(nn.Module):
    """Pre-norm blocks over patches, read at the class token."""

    def __init__(self, sizes, embed_size, quick):
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

    def forward(self, pixels):
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        v = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(v, None)[:, 0]) @ self.proj


class Transformer(nn.Module):
    """A stack of blocks."""

    def __init__(self, layers, *sizes):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(*sizes) for _ in range(layers))

    def forward(self, x, mask):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Block(nn.Module):
    """Attention and feed-forward, each normalised first and then added."""

    def __init__(self, width, heads, hidden, quick):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        up, down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mlp = nn.ModuleDict({"c_fc": up, "c_proj": down})
        self.quick = quick

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        y = y * torch.sigmoid(1.702 * y) if self.quick else nn.functional.gelu(y)
        return x + self.mlp["c_proj"](y)
