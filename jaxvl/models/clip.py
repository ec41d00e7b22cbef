"""CLIP (Radford et al. 2021): an image encoder and a causal text encoder, without fusion.

Letters: G batch, N image tokens, L text tokens, D width, E embedding, h heads.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxvl import losses
from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.models.layers import ACTIVATIONS, TRUNCATED_NORMAL, Dense, Numerics, apply, init_params
from jaxvl.models.vit import make_blocks, make_vit
from jaxvl.ops.arrays import unit
from jaxvl.ops.rng import stream
from jaxvl.types import Component, Model, Params

EPSILON = 1e-5  # of LayerNorm

PARTITION_RULES = (
    (r"layers/.*kernel$", P(None, "fsdp", None)),  # layer, in, out
    (r"layers/.*(bias|scale)$", P()),
    (r"embedding/word$", P(None, "fsdp")),
    (r"embedding/(class_token|positions)$", P()),
    (r"projection/kernel$", P("fsdp", None)),
    (r"convolution_\d+/kernel$", P()),
    (r"(bias|scale)$", P()),
    (r"^contrastive/", P()),
)


class Embeddings(nn.Module):
    """The sum of word and position embeddings."""

    vocabulary: int
    positions: int
    width: int
    numerics: Numerics

    @nn.compact
    def __call__(self, ids_GxL: jax.Array) -> jax.Array:
        word = self.param("word", TRUNCATED_NORMAL, (self.vocabulary, self.width))
        positions = self.param("positions", TRUNCATED_NORMAL, (self.positions, self.width))
        t = word[ids_GxL] + positions[None, : ids_GxL.shape[1]]
        return t.astype(self.numerics.activation)


def make(config: ConfigDict) -> Model:
    """Returns the Model of config.model; model.text.vocabulary_size must be set.

    It has no dropout, and it ignores the mask of a text: attention is causal, so the padding after
    the text changes nothing.
    """
    sizes = config.model
    numerics = Numerics(sizes.product_dtype, sizes.activation_dtype)
    run = {"numerics": numerics, "scan": sizes.scan_layers, "remat": sizes.remat}
    image_encoder = make_vit(
        sizes.image,
        image_size=config.data.image_size,
        epsilon=EPSILON,
        activation=sizes.activation,
        pre_norm=True,
        **run,
    )
    init_text, encode_text = _make_text(sizes.text, activation=sizes.activation, **run)
    # Embeddings and losses stay in float32.
    projection = Dense(sizes.embed_size, Numerics("float32", "float32"), use_bias=False)

    def init(key: jax.Array) -> Params:
        v, t = jnp.zeros((1, sizes.image.width)), jnp.zeros((1, sizes.text.width))
        return {
            "image": image_encoder.init(stream(key, "image")),
            "text": init_text(stream(key, "text")),
            "image_projection": init_params(projection, stream(key, "image_projection"), v),
            "text_projection": init_params(projection, stream(key, "text_projection"), t),
            "logit_scale": -jnp.log(jnp.asarray(sizes.temperature, jnp.float32)),
            **losses.learned(config),
        }

    def project(params, x_GxD):
        return unit(apply(projection, params, x_GxD.astype(jnp.float32)))

    def project_text(params, t_GxLxD, ids_GxL):
        end_G = end_of_text(ids_GxL, sizes.text.end_token)
        t_GxD = jnp.take_along_axis(t_GxLxD, end_G[:, None, None], axis=1)[:, 0]
        return project(params["text_projection"], t_GxD)

    def look(params, v_GxNxD, probe_GxhxN):
        v_GxD, attention_GxhxN = image_encoder.finish(params["image"], v_GxNxD, probe_GxhxN)
        return project(params["image_projection"], v_GxD), attention_GxhxN

    return Model(
        init=init,
        encode_image=lambda params, image: image_encoder.begin(params["image"], image),
        encode_text=lambda params, ids, mask, *, key: encode_text(params["text"], ids),
        project_image=lambda params, v: look(params, v, None)[0],
        project_text=project_text,
        partition_rules=PARTITION_RULES,
        look=look,
    )


def end_of_text(ids_GxL: jax.Array, end_token: int) -> jax.Array:
    """Returns int [G]: the position of the token that a text's embedding is read from.

    It is the first `end_token`; with -1 the first token with the largest id, as in CLIP's own code.
    """
    return (ids_GxL if end_token < 0 else ids_GxL == end_token).argmax(-1)


def _make_text(
    sizes: ConfigDict, *, activation: str, numerics: Numerics, scan: bool, remat: bool
) -> tuple[Callable[[jax.Array], Params], Callable[[Params, jax.Array], jax.Array]]:
    """Returns (init, encode): (key) -> params, and (params, ids_GxL) -> t_GxLxD."""
    embedding = Embeddings(sizes.vocabulary_size, sizes.positions, sizes.width, numerics)
    blocks = make_blocks(
        sizes,
        epsilon=sizes.norm_epsilon or EPSILON,
        activation=activation,
        causal=True,
        numerics=numerics,
        scan=scan,
        remat=remat,
    )

    def init(key):
        ids = jnp.zeros((1, 2), jnp.int32)
        return {
            "embedding": init_params(embedding, stream(key, "embedding"), ids),
            **blocks.init(key),
        }

    def encode(params, ids_GxL):
        t = apply(embedding, params["embedding"], ids_GxL)
        return blocks.run(params, t)

    return init, encode


def _check(config: ConfigDict) -> None:
    require(
        config.data.add_sep,
        "data.add_sep=False, but model.name='clip' reads a text's embedding from the token that "
        "ends it; set data.add_sep=True",
    )
    lengths = config.data.token_lengths
    require(list(lengths) == sorted(set(lengths)), f"data.token_lengths={lengths} is not ascending")


KEYS = {
    "model": {
        "activation": Key(
            "gelu",
            'activation of the feed-forward layers; OpenAI\'s weights need "quick_gelu"',
            choices=tuple(ACTIVATIONS),
        ),
        "text": {
            "end_token": Key(-1, "id of the token that ends a text; -1: that of the tokenizer", -1)
        },
    }
}
CLIP = Component(make, KEYS, _check)
