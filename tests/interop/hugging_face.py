"""Tiny randomly initialised models of Hugging Face, saved as folders."""

import numpy as np
import torch
import transformers

TOWER = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
IMAGE = dict(**TOWER, image_size=16, patch_size=8)
WORDS, LENGTH = 50, 7


def bert_config(**changes):
    return transformers.BertConfig(
        **(TOWER | dict(vocab_size=WORDS, max_position_embeddings=12) | changes)
    )


def clip_config(activation, **image):
    return transformers.CLIPConfig(
        text_config=dict(
            **TOWER,
            vocab_size=WORDS,
            hidden_act=activation,
            max_position_embeddings=LENGTH,
            bos_token_id=WORDS - 2,
            eos_token_id=WORDS - 1,
            layer_norm_eps=1e-4,
        ),
        vision_config=dict(**(IMAGE | image), hidden_act=activation, layer_norm_eps=1e-3),
        projection_dim=8,
    )


def roberta_config():
    return transformers.RobertaConfig(
        **TOWER,
        vocab_size=WORDS,
        max_position_embeddings=14,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def saved(model, folder):
    """Saves a model with all parameters drawn anew, so that no bias is zero and no scale one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "logit_scale" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(folder)
    return model, folder


def words(rows=3, seed=0):
    """Returns (ids, mask): right-padded texts."""
    rng = np.random.default_rng(seed)
    mask = np.arange(LENGTH)[None] < np.array([LENGTH, 4, 5])[:rows, None]
    return np.where(mask, rng.integers(3, WORDS - 2, mask.shape), 1).astype(np.int32), mask


def images(side, rows=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, side, side, 3), dtype=np.uint8)
