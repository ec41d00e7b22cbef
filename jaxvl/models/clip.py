"""CLIP (Radford et al. 2021): an image tower and a causal text tower, and no fusion.

Letters: G batch, N image tokens, L text tokens, D width, E embedding.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxvl import losses
from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.models.albef import unit
from jaxvl.models.layers import ACTIVATIONS, TRUNCATED_NORMAL, Dense, Numerics
from jaxvl.models.vit import make_blocks, make_vit
from jaxvl.ops.rng import stream
from jaxvl.types import Component, Model

EPSILON = 1e-5

PARTITION_RULES = (
    (r"layers/.*kernel$", P(None, "fsdp", None)),  # layer, in, out
    (r"layers/.*(bias|scale)$", P()),
    (r"embedding/word$", P(None, "fsdp")),
    (r"embedding/(class_token|positions)$", P()),
    (r"projection/kernel$", P("fsdp", None)),
    (r"(bias|scale)$", P()),
    (r"^contrastive/", P()),
)


class Embeddings(nn.Module):
    """Words and positions, added."""

    vocabulary: int
    positions: int
    width: int
    numerics: tuple

    @nn.compact
    def __call__(self, ids_GxL):
        word = self.param("word", TRUNCATED_NORMAL, (self.vocabulary, self.width))
        positions = self.param("positions", TRUNCATED_NORMAL, (self.positions, self.width))
        t = word[ids_GxL] + positions[None, : ids_GxL.shape[1]]
        return t.astype(self.numerics.activation)


def make(config):
    """Returns the Model of config.model; its text vocabulary size must be set.

    Nothing is dropped out, and a text needs no mask: what stands behind its end is never seen.
    """
    sizes = config.model
    numerics = Numerics(sizes.product_dtype, sizes.activation_dtype)
    run = {"numerics": numerics, "scan": sizes.scan_layers, "remat": sizes.remat}
    init_image, encode_image = make_vit(
        sizes.image,
        image_size=config.data.image_size,
        epsilon=EPSILON,
        activation=sizes.activation,
        pre_norm=True,
        **run,
    )
    init_text, encode_text = _make_text(sizes.text, activation=sizes.activation, **run)
    # Losses and what decides stay in float32.
    projection = Dense(sizes.embed_size, Numerics("float32", "float32"), use_bias=False)

    def init(key):
        v, t = jnp.zeros((1, sizes.image.width)), jnp.zeros((1, sizes.text.width))
        image, text = (stream(key, f"{name}_projection") for name in ("image", "text"))
        return {
            "image": init_image(stream(key, "image")),
            "text": init_text(stream(key, "text")),
            "image_projection": projection.init(image, v)["params"],
            "text_projection": projection.init(text, t)["params"],
            "logit_scale": -jnp.log(jnp.asarray(sizes.temperature, jnp.float32)),
            **losses.learned(config),
        }

    def project(params, x_GxD):
        return unit(projection.apply({"params": params}, x_GxD.astype(jnp.float32)))

    def project_text(params, t_GxLxD, ids_GxL):
        end_G = end_of_text(ids_GxL, sizes.text.end_token)
        t_GxD = jnp.take_along_axis(t_GxLxD, end_G[:, None, None], axis=1)[:, 0]
        return project(params["text_projection"], t_GxD)

    without_fusion = dict.fromkeys(("image_keys", "fuse", "match_logits", "word_logits"))
    return Model(
        init=init,
        encode_image=lambda params, image: encode_image(params["image"], image),
        encode_text=lambda params, ids, mask, *, key: encode_text(params["text"], ids),
        project_image=lambda params, v: project(params["image_projection"], v[:, 0]),
        project_text=project_text,
        partition_rules=PARTITION_RULES,
        **without_fusion,
    )


def end_of_text(ids_GxL, end_token):
    """Returns int [G]: the first place of `end_token`; -1: of the largest id, as in CLIP's own."""
    return (ids_GxL if end_token < 0 else ids_GxL == end_token).argmax(-1)


def _make_text(sizes, *, activation, numerics, scan, remat):
    embedding = Embeddings(sizes.vocabulary_size, sizes.positions, sizes.width, numerics)
    init_blocks, run_blocks = make_blocks(
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
            "embedding": embedding.init(stream(key, "embedding"), ids)["params"],
            **init_blocks(key),
        }

    def encode(params, ids_GxL):
        t = embedding.apply({"params": params["embedding"]}, ids_GxL)
        return run_blocks(params, t)

    return init, encode


def _check(config):
    require(
        config.data.add_sep,
        "data.add_sep=False: model.name='clip' reads a text's meaning off the token that ends it",
    )
    lengths = config.data.token_lengths
    require(
        list(lengths) == sorted(set(lengths)), f"data.token_lengths={lengths} are not ascending"
    )


KEYS = {
    "model": {
        "activation": Key(
            "gelu",
            'of the feed-forward layers; "quick_gelu" for weights that were trained with it',
            choices=tuple(ACTIVATIONS),
        ),
        "text": {
            "end_token": Key(
                -1, "id of the token that a text's embedding is read from; -1: the tokenizer's", -1
            )
        },
    }
}
CLIP = Component(make, KEYS, _check)
