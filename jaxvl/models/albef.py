"""ALBEF (Li et al. 2021): two towers, a fusion encoder, heads for matching and masked words."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxvl import losses
from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.models.bert import make_bert
from jaxvl.models.layers import Dense, Numerics
from jaxvl.models.vit import make_vit
from jaxvl.ops.rng import stream
from jaxvl.types import Component, Model

MATCH = 1  # index of "this picture and this text belong together" in the match logits

PARTITION_RULES = (
    (r"layers/.*kernel$", P(None, "fsdp", None)),  # layer, in, out
    (r"layers/.*(bias|scale)$", P()),
    (r"embedding/(word|position|token_type)$", P(None, "fsdp")),
    (r"embedding/(class_token|positions)$", P()),
    (r"(projection|word_head/transform)/kernel$", P("fsdp", None)),
    (r"match_head/kernel$", P()),
    (r"(bias|scale)$", P()),
    (r"temperature$", P()),
    (r"^contrastive/", P()),
)


def make(config):
    """Returns the Model of config.model; its text vocabulary size must be set."""
    sizes = config.model
    numerics = Numerics(sizes.product_dtype, sizes.activation_dtype)
    run = {"numerics": numerics, "scan": sizes.scan_layers, "remat": sizes.remat}
    init_image, encode_image = make_vit(sizes.image, image_size=config.data.image_size, **run)
    bert = make_bert(sizes.text, image_width=sizes.image.width, **run)
    heads = Numerics("float32", "float32")  # losses and what decides stay in float32
    projection, match_head = Dense(sizes.embed_size, heads), Dense(2, heads)

    def init(key):
        v, t = jnp.zeros((1, sizes.image.width)), jnp.zeros((1, sizes.text.width))

        def head(module, x, name):
            return module.init(stream(key, name), x)["params"]

        return {
            "image": init_image(stream(key, "image")),
            **bert.init(stream(key, "bert")),
            "image_projection": head(projection, v, "image_projection"),
            "text_projection": head(projection, t, "text_projection"),
            "match_head": head(match_head, t, "match_head"),
            "temperature": jnp.asarray(sizes.temperature, jnp.float32),
            **losses.learned(config),
        }

    def project(params, x_GxLxD):
        return unit(projection.apply({"params": params}, x_GxLxD[:, 0].astype(jnp.float32)))

    def match_logits(params, states_GxLxD):
        first = states_GxLxD[:, 0].astype(jnp.float32)
        return match_head.apply({"params": params["match_head"]}, first)

    return Model(
        init=init,
        encode_image=lambda params, image: encode_image(params["image"], image),
        encode_text=bert.encode,
        project_image=lambda params, v: project(params["image_projection"], v),
        project_text=lambda params, t, ids: project(params["text_projection"], t),
        image_keys=bert.image_keys,
        fuse=bert.fuse,
        match_logits=match_logits,
        word_logits=bert.word_logits,
        partition_rules=PARTITION_RULES,
    )


def unit(x_GxE):
    """Returns x of unit length; a zero vector stays zero and has a finite gradient."""
    return x_GxE * jax.lax.rsqrt(jnp.maximum((x_GxE**2).sum(-1, keepdims=True), 1e-24))


def _check(config):
    require(not config.data.token_lengths, "data.token_lengths is for model.name='clip' alone")
    require(
        config.softmask.layer < config.model.text.fusion_layers - 1,
        f"softmask.layer={config.softmask.layer} must be at least 0 and below "
        f"{config.model.text.fusion_layers - 1}: in the last fusion layer only [CLS] reaches "
        "the match score, so no other word would look at anything",
    )


KEYS = {
    "model": {
        "temperature_range": Key((0.001, 0.5), "the temperature stays within it", above=0),
        "text": {
            "fusion_layers": Key(6, "layers of the fusion encoder", low=1),
            "mask_token": Key(-1, "id of [MASK]; -1: the tokenizer's", low=-1),
            "dropout": Key(0.1, "of text and fusion encoder, in training", low=0, below=1),
        },
    },
    "softmask": {  # the layer is read in evaluation too, whatever the method was
        "layer": Key(2, "fusion layer whose cross-attention is explained, from 0", low=0),
        "score": Key(
            "logit", "match score that is differentiated", choices=("logit", "probability")
        ),
    },
}
ALBEF = Component(make, KEYS, _check)
