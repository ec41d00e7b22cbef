"""ALBEF (Li et al. 2021) in plain PyTorch, for weights that jaxvl trained.

Needs torch, safetensors, tokenizers, numpy and Pillow, and for heat-maps of words in Japanese,
Chinese or Thai what jaxvl_words.py imports. Images are read as in training by jaxvl_images.py,
texts by jaxvl_texts.py.

    model, prepare = load("FOLDER")
    image = model.encode_image(prepare.images([Image.open("photo.jpg")]))
    text = model.encode_text(prepare.texts(["a dog in the snow"]))
    image.embedding @ text.embedding.T    # similarity of every image with every text
    model.match(image, text)              # probability that image i and text i belong together
    model.word_heatmaps(image, text)      # which region of image i each word of text i refers to

A single image, or a single text, is paired with each of the others.
Modules have the names of ALBEF's own code, so that its checkpoints fit. Shapes are in names or
comments: G batch, L text tokens, N image tokens (class token first), P = N - 1 patches, D width,
h heads, E embedding, V vocabulary, S image size.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import tokenizers
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

MATCH = 1  # index of "they belong together" in the match logits


class Texts(NamedTuple):
    """Tokenized texts."""

    ids: Tensor  # int64 [G, L]
    mask: Tensor  # bool [G, L]: False at padding
    words: Tensor  # int64 [G, L]: index of a token's word; -1 at special tokens and padding
    spelt: list[list[str]]  # of each text, the words that the model reads
    truncated: list[list[str]]  # the words behind them, because the text is too long


class EncodedImage(NamedTuple):
    """Output of the image encoder."""

    states: Tensor  # [G, N, D]
    embedding: Tensor  # [G, E], of unit length


class EncodedText(NamedTuple):
    """Output of the text encoder."""

    states: Tensor  # [G, L, D]
    embedding: Tensor  # [G, E], of unit length
    texts: Texts


class Heatmap(NamedTuple):
    """How relevant each patch is to one word."""

    word: str
    relevance: Tensor  # [side, side], at least 0


def load(folder: Path | str) -> tuple["Model", "Prepare"]:
    """Returns the model of an exported folder, ready for use, and its preprocessing."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    model = Model(config)
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    preprocessing = json.loads((folder / "preprocessing.json").read_text())
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    images, texts, words = (
        module_in(folder, f"jaxvl_{name}") for name in ("images", "texts", "words")
    )
    assert images and texts, f"{folder} lacks jaxvl_images.py or jaxvl_texts.py"
    reader = texts.Reader(config["tokens"], tokenizer, words.spans_of if words else None)
    prepare = Prepare(preprocessing, reader, images.upright_rgb)
    return model.eval().requires_grad_(False), prepare


def module_in(folder: Path, name: str) -> ModuleType | None:
    """Returns the module that lies beside the weights; None where there is none of this name."""
    path = folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Preprocessing


class Prepare:
    """Turns images into pixels and texts into tokens, as in training."""

    def __init__(
        self,
        preprocessing: dict[str, Any],
        reader: Any,
        upright_rgb: Callable[[Image.Image], Image.Image],
    ):
        """preprocessing: of preprocessing.json. reader: a jaxvl_texts.Reader.

        upright_rgb: of jaxvl_images.
        """
        self.preprocessing, self.reader, self.upright_rgb = preprocessing, reader, upright_rgb

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """Returns float32 [G, 3, S, S]: normalised pixels of images of any size and mode."""
        mean, std = (
            torch.tensor(self.preprocessing[name]).reshape(1, 3, 1, 1) for name in ("mean", "std")
        )
        bytes_GxSxSx3 = torch.from_numpy(np.stack([self.resized(image) for image in images]))
        return (bytes_GxSxSx3.permute(0, 3, 1, 2) / 255 - mean) / std

    def resized(self, image: Image.Image) -> np.ndarray:
        """Returns uint8 [S, S, 3]: upright, on white where it is transparent, resized."""
        image = self.upright_rgb(image)
        size = width = height = self.preprocessing["size"]
        if self.preprocessing["crop"] == "center":  # the shorter side becomes `size`
            width, height = (size * side // min(image.size) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        return np.array(image.crop((left, top, left + size, top + size)))

    def texts(self, captions: Sequence[str]) -> Texts:
        """Returns the tokens of texts: [CLS], the words, and [SEP] if the model was trained so.

        A text that does not fit is truncated.
        """
        every = [self.reader.read(caption) for caption in captions]
        ids = torch.full((len(every), self.reader.told["max_tokens"]), self.reader.told["pad"])
        words = torch.full_like(ids, -1)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for row, read in enumerate(every):
            count = len(read.ids)
            ids[row, :count] = torch.tensor(read.ids)
            words[row, :count] = torch.tensor(read.words)
            mask[row, :count] = True
        spelt, truncated = [read.spelt for read in every], [read.truncated for read in every]
        return Texts(ids, mask, words, spelt, truncated)


# The model


class Model(nn.Module):
    """An image encoder, a text encoder and a fusion encoder, with heads for matching and words."""

    def __init__(self, config: dict[str, Any]):
        """config: the object in config.json."""
        super().__init__()
        image, text, size = config["image"], config["text"], config["embed_size"]
        self.heatmap, self.match_read = config["heatmap"], config["match_read"]
        self.fusion_tokens = config["fusion_tokens"]
        local = self.fusion_tokens == "local"
        self.visual_encoder = VisionTransformer(image, config["image_size"], keep_unmixed=local)
        self.text_encoder = TextEncoder(text, image["width"])
        self.vision_proj = nn.Linear(image["width"], size)
        self.text_proj = nn.Linear(text["width"], size)
        self.itm_head = nn.Linear(text["width"], 2)
        self.temp = nn.Parameter(torch.zeros(()))  # in training it divides similarities

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Returns states and embeddings of pixels, float32 [G, 3, S, S]."""
        states = self.visual_encoder(pixels)
        return EncodedImage(states, functional.normalize(self.vision_proj(states[:, 0]), dim=-1))

    def encode_text(self, texts: Texts) -> EncodedText:
        """Returns states and embeddings of texts."""
        states = self.text_encoder.bert.encode(texts.ids, texts.mask)
        embedding = functional.normalize(self.text_proj(states[:, 0]), dim=-1)
        return EncodedText(states, embedding, texts)

    def fuse(self, image: EncodedImage, text: EncodedText) -> tuple[Tensor, Tensor]:
        """Returns the fused states [G, L, D] and the match logits [G, 2] of pairs."""
        states, logits, _ = self.fuse_states(image.states, text.states, text.texts.mask)
        return states, logits

    def fuse_states(
        self,
        image: Tensor,
        text: Tensor,
        mask: Tensor,
        *,
        added: Mapping[int, Tensor] = MappingProxyType({}),
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Returns the fused states, the match logits, and the attention of each fusion layer.

        image, text: their states. mask: of the texts. added: as for `Bert.fuse`.
        """
        seen = None
        if self.fusion_tokens != "all":  # all but the class token
            seen = torch.arange(image.shape[1], device=image.device)[None] > 0
        states, attention = self.text_encoder.bert.fuse(text, mask, image, seen, added=added)
        if self.match_read == "mean":
            mean = (states * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
            states = torch.cat([mean, states[:, 1:]], dim=1)
        return states, self.itm_head(states[:, 0]), attention

    def match_logits(self, image: EncodedImage, text: EncodedText) -> Tensor:
        """Returns [G, 2]: logits that image and text of each pair do not, and do, match."""
        return self.fuse(*paired(image, text))[1]

    def match(self, image: EncodedImage, text: EncodedText) -> Tensor:
        """Returns [G]: the probability that image and text of each pair belong together."""
        return self.match_logits(image, text).softmax(-1)[:, MATCH]

    def word_logits(self, states: Tensor) -> Tensor:
        """Returns [G, L, V]: logits of the word at each place, from fused states [G, L, D]."""
        vocabulary = self.text_encoder.bert.embeddings.word_embeddings.weight
        return self.text_encoder.cls["predictions"](states, vocabulary)

    def word_heatmaps(self, image: EncodedImage, text: EncodedText) -> list[list[Heatmap]]:
        """Returns for each pair a list with the heat-map of every word."""
        image, text = paired(image, text)
        relevance = self.relevance(image, text)
        side = round(relevance.shape[-1] ** 0.5)
        maps = []
        for spelt, words, rows in zip(text.texts.spelt, text.texts.words, relevance):
            first = [int((words == place).int().argmax()) for place in range(len(spelt))]
            maps.append([Heatmap(w, rows[at].reshape(side, side)) for w, at in zip(spelt, first)])
        return maps

    def relevance(self, image: EncodedImage, text: EncodedText) -> Tensor:
        """Returns [G, L, P]: the relevance of each patch to a token's word; 0 at special tokens.

        This is Grad-CAM on the cross-attention of one fusion layer: attention times the positive
        part of the gradient of the match score, mean over the heads. All tokens of a word get the
        mean over the word.
        """
        attention, gradient = self._attention_and_gradient(image, text)
        relevance = (attention * gradient.relu()).mean(1)[..., 1:]  # without the class token
        words = text.texts.words
        same_GxLxL = (words[:, :, None] == words[:, None]) & (words >= 0)[:, :, None]
        share_GxLxL = same_GxLxL / same_GxLxL.sum(-1, keepdim=True).clamp(min=1)
        return share_GxLxL @ relevance

    def _attention_and_gradient(
        self, image: EncodedImage, text: EncodedText
    ) -> tuple[Tensor, Tensor]:
        """Returns [G, h, L, N] twice: cross-attention, and the match score's gradient by it.

        The gradient is that of zeros which are added to the attention.
        """
        layer = self.heatmap["layer"]
        pairs, length = text.texts.ids.shape
        with torch.enable_grad():
            shape = (pairs, self.text_encoder.bert.heads, length, image.states.shape[1])
            zeros = image.states.new_zeros(shape, requires_grad=True)
            _, scores, attention = self.fuse_states(
                image.states, text.states, text.texts.mask, added={layer: zeros}
            )
            if self.heatmap["score"] == "probability":
                scores = scores.softmax(-1)
            (gradient,) = torch.autograd.grad(scores[:, MATCH].sum(), zeros)
        return attention[layer].detach(), gradient


def paired(image: EncodedImage, text: EncodedText) -> tuple[EncodedImage, EncodedText]:
    """Returns both with as many rows: a single image, or a single text, is repeated.

    Raises ValueError where there are several of both, and not as many of each.
    """
    images, texts = len(image.embedding), len(text.embedding)
    if images != texts and 1 not in (images, texts):
        raise ValueError(f"{images} images and {texts} texts are no pairs")
    count = max(images, texts)
    if images < count:
        image = EncodedImage(*(rows.expand(count, *rows.shape[1:]) for rows in image))
    if texts < count:
        ids, mask, words, spelt, truncated = text.texts
        ids, mask, words = (rows.expand(count, -1) for rows in (ids, mask, words))
        repeated = Texts(ids, mask, words, spelt * count, truncated * count)
        states, embedding = text.states.expand(count, -1, -1), text.embedding.expand(count, -1)
        text = EncodedText(states, embedding, repeated)
    return image, text


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    *,
    mask: Tensor | None = None,
    added: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns multi-head attention of L queries to M keys, [G, L, D], and its weights [G, h, L, M].

    mask: bool [G, M], False at keys that must not be seen. added: [G, h, L, M], to the weights.
    """
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -1e9)
    weights = scores.softmax(-1)
    if added is not None:
        weights = weights + added
    return (weights @ value).transpose(1, 2).flatten(2), weights


# The image encoder: a ViT, pre-norm


class VisionTransformer(nn.Module):
    """Patches and a class token through blocks.

    keep_unmixed: the patches are returned as they are before the blocks, normalised.
    """

    def __init__(self, sizes: dict[str, Any], image_size: int, *, keep_unmixed: bool):
        super().__init__()
        width, patch = sizes["width"], sizes["patch_size"]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image_size // patch) ** 2 + 1, width))
        self.patch_embed = (
            PatchEmbedding(width, patch) if sizes["stem"] == "linear" else Convolutions(sizes)
        )
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes["layers"]))
        self.norm = nn.LayerNorm(width, eps=sizes["norm_epsilon"])
        self.unmixed_norm = nn.LayerNorm(width, eps=sizes["norm_epsilon"]) if keep_unmixed else None

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns [G, N, D] of pixels [G, 3, S, S]."""
        patches = self.patch_embed(pixels)
        embedded = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        v = embedded = embedded + self.pos_embed
        for block in self.blocks:
            v = block(v)
        v = self.norm(v)
        if self.unmixed_norm is None:
            return v
        return torch.cat([v[:, :1], self.unmixed_norm(embedded[:, 1:])], dim=1)


class PatchEmbedding(nn.Module):
    """A linear map of each patch."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns [G, P, D] of pixels [G, 3, S, S]."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class Convolutions(nn.Module):
    """4 x 4 convolutions of stride 2 until a position is a patch, then a linear map."""

    def __init__(self, sizes: dict[str, Any]):
        super().__init__()
        width, halvings = sizes["width"], sizes["patch_size"].bit_length() - 1
        widths = [3, *(width // 2 ** (halvings - 1 - k) for k in range(halvings))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1)
            for before, after in zip(widths, widths[1:])
        )
        self.norms = nn.ModuleList(nn.LayerNorm(w, eps=sizes["norm_epsilon"]) for w in widths[1:])
        self.proj = nn.Linear(width, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns [G, P, D] of pixels [G, 3, S, S]."""
        x = pixels
        for convolution, norm in zip(self.convolutions, self.norms):
            x = norm(convolution(x).permute(0, 2, 3, 1))  # over the channels of a position
            x = functional.gelu(x).permute(0, 3, 1, 2)
        return self.proj(x.flatten(2).transpose(1, 2))


class Block(nn.Module):
    """Self-attention and feed-forward; each normalises first and is then added."""

    def __init__(self, sizes: dict[str, Any]):
        super().__init__()
        width, epsilon = sizes["width"], sizes["norm_epsilon"]
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = ImageAttention(width, sizes["heads"])
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = ImageMlp(width, sizes["mlp_width"])

    def forward(self, v: Tensor) -> Tensor:
        """Returns [G, N, D]."""
        v = v + self.attn(self.norm1(v))
        return v + self.mlp(self.norm2(v))


class ImageAttention(nn.Module):
    """Self-attention of image tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, v: Tensor) -> Tensor:
        """Returns [G, N, D]."""
        query, key, value = self.qkv(v).chunk(3, dim=-1)
        mixed, _ = attend(query, key, value, self.heads)
        return self.proj(mixed)


class ImageMlp(nn.Module):
    """Feed-forward layers of an image block."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, v: Tensor) -> Tensor:
        """Returns [G, N, D]."""
        return self.fc2(functional.gelu(self.fc1(v)))


# The text encoder and the fusion encoder: one BERT, post-norm


class TextEncoder(nn.Module):
    """BERT with its head for masked words."""

    def __init__(self, sizes: dict[str, Any], image_width: int):
        super().__init__()
        self.bert = Bert(sizes, image_width)
        self.cls = nn.ModuleDict({"predictions": WordHead(sizes)})


class Bert(nn.Module):
    """The first layers encode a text, the last ones fuse it with an image."""

    def __init__(self, sizes: dict[str, Any], image_width: int):
        super().__init__()
        self.heads, self.text_layers = sizes["heads"], sizes["layers"]
        self.embeddings = Embeddings(sizes)
        self.encoder = Layers(sizes, image_width)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Returns the states [G, L, D] of texts."""
        t = self.embeddings(ids)
        for layer in self.encoder.layer[: self.text_layers]:
            t = layer(t, mask)
        return t

    def fuse(
        self,
        t: Tensor,
        mask: Tensor,
        image: Tensor,
        seen: Tensor | None,
        *,
        added: Mapping[int, Tensor] = MappingProxyType({}),
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns the fused states [G, L, D] and each fusion layer's cross-attention [G, h, L, N].

        t: text states. image: image states. seen: bool [1, N], False at image tokens that texts do
        not attend to; None for all of them. added: {number of a fusion layer, from 0: a tensor that
        is added to its cross-attention}.
        """
        attention = []
        for number, layer in enumerate(self.encoder.layer[self.text_layers :]):
            t, weights = layer(t, mask, image, seen, added.get(number))
            attention.append(weights)
        return t, attention


class Layers(nn.Module):
    """Text layers and then fusion layers, in one list."""

    def __init__(self, sizes: dict[str, Any], image_width: int):
        super().__init__()
        text = [TextLayer(sizes) for _ in range(sizes["layers"])]
        fusion = [FusionLayer(sizes, image_width) for _ in range(sizes["fusion_layers"])]
        self.layer = nn.ModuleList([*text, *fusion])


class Embeddings(nn.Module):
    """Words, positions and the token type (always 0), added and normalised."""

    def __init__(self, sizes: dict[str, Any]):
        super().__init__()
        width = sizes["width"]
        self.word_embeddings = nn.Embedding(sizes["vocabulary_size"], width)
        self.position_embeddings = nn.Embedding(sizes["positions"], width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=sizes["norm_epsilon"])

    def forward(self, ids: Tensor) -> Tensor:
        """Returns [G, L, D] of ids [G, L]."""
        t = self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(t + self.token_type_embeddings.weight[0])


class BertLayer(nn.Module):
    """The parts of text layers and fusion layers; each is added and then normalised."""

    def __init__(self, sizes: dict[str, Any]):
        super().__init__()
        width, hidden = sizes["width"], sizes["mlp_width"]
        self.attention = Attention(sizes, key_width=width)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = AddAndNorm(sizes, hidden)

    def feed_forward(self, t: Tensor) -> Tensor:
        """Returns [G, L, D]."""
        return self.output(functional.gelu(self.intermediate["dense"](t)), t)


class TextLayer(BertLayer):
    """Self-attention and feed-forward."""

    def forward(self, t: Tensor, mask: Tensor) -> Tensor:
        """Returns [G, L, D]."""
        t, _ = self.attention(t, t, mask=mask)
        return self.feed_forward(t)


class FusionLayer(BertLayer):
    """Self-attention, cross-attention to the image, and feed-forward."""

    def __init__(self, sizes: dict[str, Any], image_width: int):
        super().__init__(sizes)
        self.crossattention = Attention(sizes, key_width=image_width)

    def forward(
        self,
        t: Tensor,
        mask: Tensor,
        image: Tensor,
        seen: Tensor | None = None,
        added: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns [G, L, D] and the cross-attention [G, h, L, N], with `added` added to it."""
        t, _ = self.attention(t, t, mask=mask)
        t, attention = self.crossattention(t, image, mask=seen, added=added)
        return self.feed_forward(t), attention


class Attention(nn.Module):
    """Attention of a text to itself or to an image, added to the text and normalised."""

    def __init__(self, sizes: dict[str, Any], *, key_width: int):
        super().__init__()
        width, self.heads = sizes["width"], sizes["heads"]
        self.self = nn.ModuleDict(
            {
                "query": nn.Linear(width, width),
                "key": nn.Linear(key_width, width),
                "value": nn.Linear(key_width, width),
            }
        )
        self.output = AddAndNorm(sizes, width)

    def forward(
        self,
        t: Tensor,
        keys: Tensor,
        *,
        mask: Tensor | None = None,
        added: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns [G, L, D] and the attention weights [G, h, L, M] to M keys; see `attend`."""
        query, key, value = self.self["query"](t), self.self["key"](keys), self.self["value"](keys)
        mixed, weights = attend(query, key, value, self.heads, mask=mask, added=added)
        return self.output(mixed, t), weights


class AddAndNorm(nn.Module):
    """A linear map, added to what came before and normalised."""

    def __init__(self, sizes: dict[str, Any], width_in: int):
        super().__init__()
        self.dense = nn.Linear(width_in, sizes["width"])
        self.LayerNorm = nn.LayerNorm(sizes["width"], eps=sizes["norm_epsilon"])

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Returns the shape of `before`."""
        return self.LayerNorm(self.dense(x) + before)


class WordHead(nn.Module):
    """Logits of words; the last linear map has the word embeddings as its weights."""

    def __init__(self, sizes: dict[str, Any]):
        super().__init__()
        width = sizes["width"]
        self.transform = nn.ModuleDict(
            {
                "dense": nn.Linear(width, width),
                "LayerNorm": nn.LayerNorm(width, eps=sizes["norm_epsilon"]),
            }
        )
        self.bias = nn.Parameter(torch.zeros(sizes["vocabulary_size"]))

    def forward(self, t: Tensor, vocabulary: Tensor) -> Tensor:
        """Returns [G, L, V] of states [G, L, D] and word embeddings [V, D]."""
        t = self.transform["LayerNorm"](functional.gelu(self.transform["dense"](t)))
        return t @ vocabulary.T + self.bias
