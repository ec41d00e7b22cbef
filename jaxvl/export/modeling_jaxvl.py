"""A model that joins pictures and texts, in plain PyTorch: ALBEF (Li et al. 2021), as trained with
soft masks (Park & Han 2023). Needs torch, safetensors, tokenizers and Pillow, nothing else.

    model, prepare = load("FOLDER")
    image = model.encode_image(prepare.images([Image.open("photo.jpg")]))
    text = model.encode_text(prepare.texts(["a dog in the snow"]))
    image.embedding @ text.embedding.T      # similarity of any pictures with any texts
    model.match(image, text)                # probability that the two belong together
    model.word_heatmaps(image, text)        # what each word of the text looks at

Tensors are named as in ALBEF's own checkpoints. Letters: G batch, N picture tokens (class token
first), P = N - 1 patches, L text tokens, D width, h heads, E embedding.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import tokenizers
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional

MATCH = 1  # index of "these belong together" in the match logits


class Texts(NamedTuple):
    """Tokens of texts. `words`: the word a token belongs to, -1 at special tokens and padding."""

    ids: torch.Tensor  # int64 [G, L]
    mask: torch.Tensor  # bool [G, L]
    words: torch.Tensor  # int64 [G, L]
    spelt: list  # of each text, the words that the model sees


class EncodedImage(NamedTuple):
    """`states` [G, N, D] of the tokens; `embedding` [G, E] of unit length."""

    states: torch.Tensor
    embedding: torch.Tensor


class EncodedText(NamedTuple):
    """As EncodedImage, [G, L, D] and [G, E], with the Texts it was made of."""

    states: torch.Tensor
    embedding: torch.Tensor
    texts: Texts


class Heatmap(NamedTuple):
    """A word and how relevant each patch was to it when it was read, [side, side], >= 0."""

    word: str
    relevance: torch.Tensor


def load(folder):
    """Returns (Model, Prepare) of an exported folder, to be used, not trained."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    model = Model(config)
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    preprocessing = json.loads((folder / "preprocessing.json").read_text())
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return model.eval().requires_grad_(False), Prepare(config["tokens"], preprocessing, tokenizer)


class Prepare:
    """Pictures to pixels and texts to tokens, as in training."""

    def __init__(self, tokens, preprocessing, tokenizer):
        self._tokens, self._preprocessing, self._tokenizer = tokens, preprocessing, tokenizer

    def images(self, pictures):
        """Returns pixels, float32 [G, 3, S, S], of pictures (PIL) of any size and mode."""
        mean, std = (
            torch.tensor(self._preprocessing[name]).reshape(1, 3, 1, 1) for name in ("mean", "std")
        )
        bytes_GxSxSx3 = torch.from_numpy(np.stack([self.resized(one) for one in pictures]))
        return (bytes_GxSxSx3.permute(0, 3, 1, 2) / 255 - mean) / std

    def resized(self, picture):
        """Returns uint8 [S, S, 3]: upright, on white where transparent, resized."""
        picture = ImageOps.exif_transpose(picture)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        size = width = height = self._preprocessing["size"]
        if self._preprocessing["crop"] == "center":  # the shorter side is `size`
            width, height = (size * side // min(picture.size) for side in picture.size)
        picture = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        return np.array(picture.crop((left, top, left + size, top + size)))

    def texts(self, captions):
        """Returns the Texts of strings; what does not fit is cut."""
        t = self._tokens
        cleaned = [self._cleaned(caption) for caption in captions]
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a caption is five signs
        ids = torch.full((len(captions), t["max_tokens"]), t["pad"])
        words, mask = torch.full_like(ids, -1), torch.zeros_like(ids, dtype=torch.bool)
        room = t["max_tokens"] - 1 - int(t["add_sep"])
        for row, text in enumerate(cleaned):
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
            pieces = [t["cls"], *encoding.ids[:room], *([t["sep"]] if t["add_sep"] else [])]
            ids[row, : len(pieces)] = torch.tensor(pieces)
            mask[row, : len(pieces)] = True
            for place, (_, end) in enumerate(encoding.offsets[:room]):
                words[row, 1 + place] = text.count(" ", 0, end)
        spelt = [text.split()[: words[row].max() + 1] for row, text in enumerate(cleaned)]
        return Texts(ids, mask, words, spelt)

    def _cleaned(self, caption):
        if not self._tokens["cleans"]:
            return " ".join(caption.split())
        text = re.sub(r"[,.'!?\"()*#:;~]", "", caption.lower())
        text = text.replace("-", " ").replace("/", " ").replace("<person>", "person")
        return " ".join(text.split()[: self._tokens["max_words"]])


class Model(nn.Module):
    """Two towers, a fusion encoder, and heads for matching and masked words."""

    def __init__(self, config):
        super().__init__()
        image, text, size = config["image"], config["text"], config["embed_size"]
        self.heatmap = config["heatmap"]
        self.visual_encoder = VisionTransformer(image, config["image_size"])
        self.text_encoder = TextEncoder(text, image["width"])
        self.vision_proj = nn.Linear(image["width"], size)
        self.text_proj = nn.Linear(text["width"], size)
        self.itm_head = nn.Linear(text["width"], 2)
        self.temp = nn.Parameter(torch.zeros(()))  # divides similarities in training

    def encode_image(self, pixels):
        """Returns the EncodedImage of pixels, float32 [G, 3, S, S]."""
        states = self.visual_encoder(pixels)
        return EncodedImage(states, functional.normalize(self.vision_proj(states[:, 0]), dim=-1))

    def encode_text(self, texts):
        """Returns the EncodedText of Texts."""
        states = self.text_encoder.bert.encode(texts.ids, texts.mask)
        embedding = functional.normalize(self.text_proj(states[:, 0]), dim=-1)
        return EncodedText(states, embedding, texts)

    def fuse(self, image, text):
        """Returns (states [G, L, D], match logits [G, 2]) of pairs."""
        states, _ = self.text_encoder.bert.fuse(text.states, text.texts.mask, image.states)
        return states, self.itm_head(states[:, 0])

    def match(self, image, text):
        """Returns the probability that the picture and the text of each pair belong together."""
        return self.fuse(image, text)[1].softmax(-1)[:, MATCH]

    def relevance(self, image, text):
        """Returns [G, L, P]: how relevant each patch is to a token's word; 0 for special tokens.

        Grad-CAM: the attention to the patches times the positive part of the match score's
        gradient by it, mean over heads, and then over the pieces of a word.
        """
        layer = self.heatmap["layer"]
        with torch.enable_grad():
            pairs, length = text.texts.ids.shape
            shape = (pairs, self.text_encoder.bert.heads, length, image.states.shape[1])
            probe = image.states.new_zeros(shape, requires_grad=True)
            states, attention = self.text_encoder.bert.fuse(
                text.states, text.texts.mask, image.states, probe=probe, layer=layer
            )
            scores = self.itm_head(states[:, 0])
            if self.heatmap["score"] == "probability":
                scores = scores.softmax(-1)
            (gradient,) = torch.autograd.grad(scores[:, MATCH].sum(), probe)
        relevance = (attention * gradient.relu()).mean(1)[..., 1:].detach()
        words = text.texts.words
        same = (words[:, :, None] == words[:, None]) & (words >= 0)[:, :, None]
        share = same / same.sum(-1, keepdim=True).clamp(min=1)
        return share @ relevance

    def word_heatmaps(self, image, text):
        """Returns for each pair a list of Heatmaps, one a word."""
        relevance = self.relevance(image, text)
        side = round(relevance.shape[-1] ** 0.5)
        maps = []
        for spelt, words, rows in zip(text.texts.spelt, text.texts.words, relevance):
            first = [int((words == place).int().argmax()) for place in range(len(spelt))]
            maps.append([Heatmap(w, rows[at].reshape(side, side)) for w, at in zip(spelt, first)])
        return maps

    def word_logits(self, states):
        """Returns [G, L, vocabulary]: what may stand in place of each token."""
        return self.text_encoder.cls.predictions(states, self.text_encoder.bert.words())


def attend(query, key, value, heads, *, mask=None, probe=None):
    """Returns (mixed values [G, L, D], attention [G, h, L, M]), `probe` added to the attention."""
    query, key, value = (
        x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value)
    )
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -1e9)
    attention = scores.softmax(-1)
    if probe is not None:
        attention = attention + probe
    return (attention @ value).transpose(1, 2).flatten(2), attention


class VisionTransformer(nn.Module):
    """Pre-norm blocks over patches."""

    def __init__(self, sizes, image_size):
        super().__init__()
        width, patch = sizes["width"], sizes["patch_size"]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image_size // patch) ** 2 + 1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes["layers"]))
        self.norm = nn.LayerNorm(width, eps=sizes["norm_epsilon"])

    def forward(self, pixels):
        patches = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        v = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        v = v + self.pos_embed
        for block in self.blocks:
            v = block(v)
        return self.norm(v)


class Block(nn.Module):
    """One pre-norm block of the image tower."""

    def __init__(self, sizes):
        super().__init__()
        width, self.heads = sizes["width"], sizes["heads"]
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=sizes["norm_epsilon"]) for _ in range(2))
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.mlp = nn.ModuleDict(
            {
                "fc1": nn.Linear(width, sizes["mlp_width"]),
                "fc2": nn.Linear(sizes["mlp_width"], width),
            }
        )

    def forward(self, v):
        mixed, _ = attend(*self.attn["qkv"](self.norm1(v)).chunk(3, dim=-1), self.heads)
        v = v + self.attn["proj"](mixed)
        return v + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(v))))


class TextEncoder(nn.Module):
    """BERT and its head of masked words, named as in ALBEF."""

    def __init__(self, sizes, image_width):
        super().__init__()
        self.bert = Bert(sizes, image_width)
        self.cls = nn.ModuleDict({"predictions": WordHead(sizes)})


class Bert(nn.Module):
    """Post-norm layers: the first ones encode text, the others also attend to the picture."""

    def __init__(self, sizes, image_width):
        super().__init__()
        self.heads, self.text_layers = sizes["heads"], sizes["layers"]
        width = sizes["width"]
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(sizes["vocabulary_size"], width),
                "position_embeddings": nn.Embedding(sizes["positions"], width),
                "token_type_embeddings": nn.Embedding(2, width),
                "LayerNorm": nn.LayerNorm(width, eps=sizes["norm_epsilon"]),
            }
        )
        layers = [BertLayer(sizes, None) for _ in range(sizes["layers"])]
        layers += [BertLayer(sizes, image_width) for _ in range(sizes["fusion_layers"])]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def words(self):
        return self.embeddings["word_embeddings"].weight

    def encode(self, ids, mask):
        e = self.embeddings
        t = e["word_embeddings"](ids) + e["position_embeddings"].weight[: ids.shape[1]]
        t = e["LayerNorm"](t + e["token_type_embeddings"].weight[0])
        for layer in self.encoder["layer"][: self.text_layers]:
            t, _ = layer(t, mask)
        return t

    def fuse(self, t, mask, image, *, probe=None, layer=None):
        """Returns (states, attention of fusion layer `layer`, to which `probe` was added)."""
        kept = None
        for place, fusion in enumerate(self.encoder["layer"][self.text_layers :]):
            t, attention = fusion(t, mask, image, probe if place == layer else None)
            kept = attention if place == layer else kept
        return t, kept


class BertLayer(nn.Module):
    """One post-norm layer; with `image_width`, words also attend to the picture."""

    def __init__(self, sizes, image_width):
        super().__init__()
        width, hidden = sizes["width"], sizes["mlp_width"]
        self.attention = Attention(sizes, width)
        if image_width:
            self.crossattention = Attention(sizes, image_width)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = Output(sizes, hidden)

    def forward(self, t, mask, image=None, probe=None):
        t, attention = self.attention(t, t, mask=mask)
        if image is not None:
            t, attention = self.crossattention(t, image, probe=probe)
        return self.output(functional.gelu(self.intermediate["dense"](t)), t), attention


class Attention(nn.Module):
    """Multi-head attention of words to themselves or to the picture, added and normalised."""

    def __init__(self, sizes, key_width):
        super().__init__()
        width, self.heads = sizes["width"], sizes["heads"]
        self.self = nn.ModuleDict(
            {
                "query": nn.Linear(width, width),
                "key": nn.Linear(key_width, width),
                "value": nn.Linear(key_width, width),
            }
        )
        self.output = Output(sizes, width)

    def forward(self, t, keys, **given):
        layers = self.self
        mixed, attention = attend(
            layers["query"](t), layers["key"](keys), layers["value"](keys), self.heads, **given
        )
        return self.output(mixed, t), attention


class Output(nn.Module):
    """A linear map, added to what came before and normalised."""

    def __init__(self, sizes, width_in):
        super().__init__()
        width = sizes["width"]
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=sizes["norm_epsilon"])

    def forward(self, x, before):
        return self.LayerNorm(self.dense(x) + before)


class WordHead(nn.Module):
    """Logits of masked words, by the word embeddings themselves."""

    def __init__(self, sizes):
        super().__init__()
        width = sizes["width"]
        norm = nn.LayerNorm(width, eps=sizes["norm_epsilon"])
        self.transform = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": norm})
        self.bias = nn.Parameter(torch.zeros(sizes["vocabulary_size"]))

    def forward(self, t, words):
        t = self.transform["LayerNorm"](functional.gelu(self.transform["dense"](t)))
        return t @ words.T + self.bias
