"""ALBEF and OpenAI's CLIP in plain PyTorch functions of their published state dicts.

Letters: G batch, L query tokens, M key tokens, D width, d width of a head.
"""

import torch
from torch.nn import functional as F


def dense(tensors, name, x):
    return F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def norm(tensors, name, x, eps):
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def attend(query, key, value, heads, seen=None):
    """Attention where `seen` (broadcast to [G, h, L, M]) is True."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    return mixed.transpose(1, 2).flatten(2)


def albef_image(tensors, x_Gx3xHxW, heads, layers):
    """ALBEF's visual_encoder: timm's ViT."""
    conv = "visual_encoder.patch_embed.proj"
    weight = tensors[f"{conv}.weight"]
    x = F.conv2d(x_Gx3xHxW, weight, tensors[f"{conv}.bias"], stride=weight.shape[-1])
    x = x.flatten(2).transpose(1, 2)
    first = tensors["visual_encoder.cls_token"].expand(len(x), -1, -1)
    x = torch.cat([first, x], 1) + tensors["visual_encoder.pos_embed"]
    for number in range(layers):
        block = f"visual_encoder.blocks.{number}"
        qkv = dense(tensors, f"{block}.attn.qkv", norm(tensors, f"{block}.norm1", x, 1e-6))
        x = x + dense(tensors, f"{block}.attn.proj", attend(*qkv.chunk(3, -1), heads))
        hidden = dense(tensors, f"{block}.mlp.fc1", norm(tensors, f"{block}.norm2", x, 1e-6))
        x = x + dense(tensors, f"{block}.mlp.fc2", F.gelu(hidden))
    return norm(tensors, "visual_encoder.norm", x, 1e-6)


def albef_embed(tensors, ids_GxL):
    root = "text_encoder.bert.embeddings"
    words = tensors[f"{root}.word_embeddings.weight"][ids_GxL]
    places = tensors[f"{root}.position_embeddings.weight"][: ids_GxL.shape[1]]
    kind = tensors[f"{root}.token_type_embeddings.weight"][0]
    return norm(tensors, f"{root}.LayerNorm", words + places + kind, 1e-12)


def albef_text_layers(tensors, t_GxLxD, mask_GxL, numbers, heads, image=None):
    """BERT layers; with `image` each also attends to it after itself."""
    for number in numbers:
        layer = f"text_encoder.bert.encoder.layer.{number}"
        t_GxLxD = _bert_attend(
            tensors, f"{layer}.attention", t_GxLxD, t_GxLxD, heads, mask_GxL[:, None, None, :]
        )
        if image is not None:
            t_GxLxD = _bert_attend(tensors, f"{layer}.crossattention", t_GxLxD, image, heads, None)
        hidden = F.gelu(dense(tensors, f"{layer}.intermediate.dense", t_GxLxD))
        out = dense(tensors, f"{layer}.output.dense", hidden)
        t_GxLxD = norm(tensors, f"{layer}.output.LayerNorm", t_GxLxD + out, 1e-12)
    return t_GxLxD


def _bert_attend(tensors, name, t, other, heads, seen):
    query, key, value = (
        dense(tensors, f"{name}.self.{part}", x)
        for part, x in (("query", t), ("key", other), ("value", other))
    )
    out = dense(tensors, f"{name}.output.dense", attend(query, key, value, heads, seen))
    return norm(tensors, f"{name}.output.LayerNorm", t + out, 1e-12)


def albef_words(tensors, states):
    head = "text_encoder.cls.predictions"
    hidden = F.gelu(dense(tensors, f"{head}.transform.dense", states))
    hidden = norm(tensors, f"{head}.transform.LayerNorm", hidden, 1e-12)
    return dense(tensors, f"{head}.decoder", hidden)


def clip_image(tensors, x_Gx3xHxW, heads, layers):
    """OpenAI's visual tower: the embedding of an image, not yet of unit length."""
    weight = tensors["visual.conv1.weight"]
    x = F.conv2d(x_Gx3xHxW, weight, stride=weight.shape[-1]).flatten(2).transpose(1, 2)
    first = tensors["visual.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], 1) + tensors["visual.positional_embedding"]
    x = norm(tensors, "visual.ln_pre", x, 1e-5)
    x = _clip_blocks(tensors, "visual.transformer", x, heads, layers, None)
    return norm(tensors, "visual.ln_post", x[:, 0], 1e-5) @ tensors["visual.proj"]


def clip_text(tensors, ids_GxL, heads, layers):
    """OpenAI's text tower: the embedding at the largest id."""
    length = ids_GxL.shape[1]
    t = tensors["token_embedding.weight"][ids_GxL] + tensors["positional_embedding"][:length]
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    t = _clip_blocks(tensors, "transformer", t, heads, layers, seen)
    t = norm(tensors, "ln_final", t, 1e-5)
    return t[torch.arange(len(t)), ids_GxL.argmax(-1)] @ tensors["text_projection"]


def _clip_blocks(tensors, root, x, heads, layers, seen):
    for number in range(layers):
        block = f"{root}.resblocks.{number}"
        inner = norm(tensors, f"{block}.ln_1", x, 1e-5)
        qkv = F.linear(
            inner, tensors[f"{block}.attn.in_proj_weight"], tensors[f"{block}.attn.in_proj_bias"]
        )
        mixed = attend(*qkv.chunk(3, -1), heads, seen)
        x = x + dense(tensors, f"{block}.attn.out_proj", mixed)
        hidden = dense(tensors, f"{block}.mlp.c_fc", norm(tensors, f"{block}.ln_2", x, 1e-5))
        x = x + dense(tensors, f"{block}.mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))
    return x
