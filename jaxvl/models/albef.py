"""ALBEF (Li et al. 2021): image, text and fusion encoder, with heads for matching and MLM.

Letters: G batch, N image tokens, L text tokens, D width, E embedding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxvl import losses
from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.models.fusion import make_fusion_bert
from jaxvl.models.layers import Dense, Numerics, apply, init_params
from jaxvl.models.vit import make_vit
from jaxvl.ops.arrays import unit
from jaxvl.ops.rng import stream
from jaxvl.types import Component, Model, Params

PARTITION_RULES = (
    (r"layers/.*kernel$", P(None, "fsdp", None)),  # layer, in, out
    (r"layers/.*(bias|scale)$", P()),
    (r"embedding/(word|position|token_type)$", P(None, "fsdp")),
    (r"embedding/(class_token|positions)$", P()),
    (r"(projection|word_head/transform)/kernel$", P("fsdp", None)),
    (r"(match_head|convolution_\d+)/kernel$", P()),
    (r"(bias|scale)$", P()),
    (r"temperature$", P()),
    (r"^contrastive/", P()),
)


def make(config: ConfigDict) -> Model:
    """Returns the Model of config.model; model.text.vocabulary_size must be set."""
    sizes = config.model
    numerics = Numerics(sizes.product_dtype, sizes.activation_dtype)
    run = {"numerics": numerics, "scan": sizes.scan_layers, "remat": sizes.remat}
    image_encoder = make_vit(
        sizes.image,
        image_size=config.data.image_size,
        keep_unmixed=sizes.fusion_tokens == "local",
        **run,
    )
    bert = make_fusion_bert(
        sizes.text,
        image_width=sizes.image.width,
        hide_class_token=sizes.fusion_tokens != "all",
        **run,
    )
    heads = Numerics("float32", "float32")  # embeddings, scores and losses stay in float32
    projection, match_head = Dense(sizes.embed_size, heads), Dense(2, heads)

    def init(key: jax.Array) -> Params:
        v, t = jnp.zeros((1, sizes.image.width)), jnp.zeros((1, sizes.text.width))
        return {
            "image": image_encoder.init(stream(key, "image")),
            **bert.init(stream(key, "bert")),
            "image_projection": init_params(projection, stream(key, "image_projection"), v),
            "text_projection": init_params(projection, stream(key, "text_projection"), t),
            "match_head": init_params(match_head, stream(key, "match_head"), t),
            "temperature": jnp.asarray(sizes.temperature, jnp.float32),
            **losses.learned(config),
        }

    def project(params, x_GxLxD):
        return unit(apply(projection, params, x_GxLxD[:, 0].astype(jnp.float32)))

    def match_logits(params, states_GxLxD):
        first = states_GxLxD[:, 0].astype(jnp.float32)
        return apply(match_head, params["match_head"], first)

    return Model(
        init=init,
        encode_image=lambda params, image: image_encoder.encode(params["image"], image),
        encode_text=bert.encode,
        project_image=lambda params, v: project(params["image_projection"], v),
        project_text=lambda params, t, ids: project(params["text_projection"], t),
        image_keys=bert.image_keys,
        fuse=reading_all_tokens(bert.fuse) if sizes.match_read == "mean" else bert.fuse,
        match_logits=match_logits,
        word_logits=bert.word_logits,
        partition_rules=PARTITION_RULES,
    )


def reading_all_tokens(fuse: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `fuse` of types.Model with the mean of all tokens as the state of the first token.

    Matching reads this state. Masked language modelling does not: it hides words only.
    """

    def fuse_and_average(params, image, t_GxLxD, mask_GxL, *, first_only, **options):
        states_GxLxD, attention = fuse(
            params, image, t_GxLxD, mask_GxL, first_only=False, **options
        )
        count_Gx1x1 = mask_GxL.sum(-1)[:, None, None]
        mean_Gx1xD = (states_GxLxD * mask_GxL[..., None]).sum(1, keepdims=True) / count_Gx1x1
        if first_only:
            return mean_Gx1xD, attention
        return jnp.concatenate([mean_Gx1xD, states_GxLxD[:, 1:]], axis=1), attention

    return fuse_and_average


def _check(config: ConfigDict) -> None:
    require(
        not config.data.token_lengths,
        "data.token_lengths is for model.name='clip' alone; set data.token_lengths=()",
    )
    layers = config.model.text.fusion_layers
    require(
        config.softmask.layer < layers,
        f"softmask.layer={config.softmask.layer} must be below model.text.fusion_layers={layers}",
    )
    require(
        config.softmask.layer < layers - 1 or config.model.match_read == "mean",
        f"softmask.layer={config.softmask.layer} must be below {layers - 1}: in the last fusion "
        "layer only [CLS] reaches the match score, so the relevance of every other token would be "
        "0; with model.match_read='mean' it may be the last layer",
    )


KEYS = {
    "model": {
        "temperature_range": Key((0.001, 0.5), "bounds of the temperature", above=0),
        "fusion_tokens": Key(
            "all",
            "what the fusion encoder sees of an image: all tokens, as ALBEF does; the patches, "
            "without the class token; or the local patches, as they are before the blocks mix them",
            choices=("all", "patches", "local"),
        ),
        "match_read": Key(
            "first",
            "what the match score is read from: the first fused token, as in ALBEF, or the mean of "
            "all of them",
            choices=("first", "mean"),
        ),
        "text": {
            "fusion_layers": Key(6, "layers of the fusion encoder", low=1),
            "mask_token": Key(-1, "id of [MASK]; -1: that of the tokenizer", low=-1),
            "dropout": Key(
                0.1, "rate of dropout in the text and fusion encoders, in training", low=0, below=1
            ),
        },
    },
    "softmask": {  # read by evaluation too, after training with any method
        "layer": Key(2, "fusion layer whose cross-attention is explained, counted from 0", low=0),
        "score": Key(
            "logit", "match score that is differentiated", choices=("logit", "probability")
        ),
    },
}
ALBEF = Component(make, KEYS, _check)
