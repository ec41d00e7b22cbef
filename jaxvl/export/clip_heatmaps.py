"""Which region of an image each word of a text refers to, by a CLIP that jaxvl trained.

    import sys; sys.path.insert(0, "FOLDER")
    from jaxvl_heatmaps import word_heatmaps

    model = CLIPModel.from_pretrained("FOLDER")
    processor = CLIPProcessor.from_pretrained("FOLDER", backend="pil")
    for word, relevance in word_heatmaps(model, processor, Image.open("photo.jpg"), "a red cube"):
        ...

What a word adds to the embedding of its text is the word's direction. Its heat-map shows which
patches move the embedding of the image along this direction: it is Grad-CAM on the attention of the
class token in the last layer. Words are found by jaxvl_texts.py, and those of Japanese, Chinese or
Thai by jaxvl_words.py.

Shapes: W words, L text tokens, N image tokens (class token first), D width, h heads, E embedding.
"""

from typing import Any, NamedTuple

import torch
from jaxvl_texts import Read, Reader  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.nn import functional


class Heatmap(NamedTuple):
    """How relevant each patch is to one word."""

    word: str
    relevance: Tensor  # [side, side], at least 0


def word_heatmaps(model: Any, processor: Any, image: Any, text: str) -> list[Heatmap]:
    """Returns a Heatmap for each word that the model reads.

    model, processor: CLIPModel and CLIPProcessor of an exported folder. image: what the processor
    takes.
    """
    read = _reader(model, processor).read(text)
    if not read.spelt:
        return []
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    relevance = _relevance(model, pixels.to(model.device, model.dtype), _directions(model, read))
    side = round(relevance.shape[-1] ** 0.5)
    return [Heatmap(word, row.reshape(side, side)) for word, row in zip(read.spelt, relevance)]


def _reader(model: Any, processor: Any) -> Reader:
    told, segment = model.config.jaxvl, None
    if told.get("words"):
        from jaxvl_words import spans_of as segment  # pyright: ignore[reportMissingImports]
    return Reader(told, processor.tokenizer.backend_tokenizer, segment)


@torch.no_grad()
def _directions(model: Any, read: Read) -> Tensor:
    """Returns [W, E]: the embedding of the text less that of the text without each word."""
    rows = [read.ids]
    for word in range(len(read.spelt)):
        kept = [token for token, of_word in zip(read.ids, read.words) if of_word != word]
        rows.append(kept + kept[-1:] * (len(read.ids) - len(kept)))  # it ends at its first end
    ids = torch.tensor(rows, device=model.device)
    pooled = model.text_model(input_ids=ids).pooler_output
    embeddings = functional.normalize(model.text_projection(pooled), dim=-1)
    return embeddings[0] - embeddings[1:]


def _relevance(model: Any, pixels: Tensor, directions: Tensor) -> Tensor:
    """Returns [W, N - 1]: mean over the heads of attention * relu(gradient).

    The gradient is that of zeros which are added to the attention, a row for each direction [W, E].
    """
    tower = model.vision_model
    layer = tower.encoder.layers[-1]
    attend = layer.self_attn
    with torch.no_grad():
        seen = tower(pixel_values=pixels, output_hidden_states=True)
        states = seen.hidden_states[-2]  # [1, N, D], before the last layer
        x = layer.layer_norm1(states)
        query, key, value = (
            project(tokens).unflatten(-1, (attend.num_heads, -1)).transpose(1, 2)
            for project, tokens in (
                (attend.q_proj, x[:, :1]),
                (attend.k_proj, x),
                (attend.v_proj, x),
            )
        )
        attention = (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(-1)
    with torch.enable_grad():
        zeros = attention.new_zeros((len(directions), *attention.shape[1:]), requires_grad=True)
        mixed = ((attention + zeros) @ value).transpose(1, 2).flatten(2)  # [W, 1, D]
        y = states[:, :1] + attend.out_proj(mixed)
        y = tower.post_layernorm(y + layer.mlp(layer.layer_norm2(y)))[:, 0]
        embeddings = functional.normalize(model.visual_projection(y), dim=-1)
        (gradient,) = torch.autograd.grad((embeddings * directions).sum(), zeros)
    return (attention * gradient.relu()).mean(1)[:, 0, 1:]
