"""Grad-CAM of the match score: how relevant each image patch is to each word of the text.

In a model without a fusion encoder it is taken of the similarity instead.

Letters: G batch, L text tokens, W words, N image tokens (class token first), P = N - 1 patches,
h heads, D width, E embedding.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.ops.dot import exact
from jaxvl.types import MATCH, Model, Params


class Matched(NamedTuple):
    """One fusion pass of pairs. The relevance carries no gradient; the other fields do."""

    states_GxLxD: jax.Array
    logits_Gx2: jax.Array
    relevance_GxLxP: jax.Array


def match_and_explain(
    model: Model,
    params: Params,
    image_keys: Any,
    t_GxLxD: jax.Array,
    mask_GxL: jax.Array,
    *,
    layer: int,
    score: str,
    key: jax.Array | None,
) -> Matched:
    """Returns the fusion pass that matching needs anyway, and the relevance taken from it.

    The relevance of a word is R of docs/softmask.md: the mean over heads of A * relu(ds / dA). A
    are the cross-attention probabilities of fusion layer `layer`. The pull-back runs through the
    layers above `layer` only.

    image_keys: as for `Model.fuse`. score: "logit" or "probability", s is that of a match. key: for
    dropout, or None.
    """

    def matched(probe_GxhxLxN):
        states, attention = model.fuse(
            params,
            image_keys,
            t_GxLxD,
            mask_GxL,
            key=key,
            keep_GxN=None,
            probe=probe_GxhxLxN,
            layer=layer,
            first_only=False,
        )
        logits_Gx2 = model.match_logits(params, states)
        scores = logits_Gx2 if score == "logit" else jax.nn.softmax(logits_Gx2)
        return scores[:, MATCH].sum(), (states, logits_Gx2, attention)

    no_probe = jnp.zeros(_attention_shape(model, params, image_keys, t_GxLxD, mask_GxL, layer))
    _, pull_back, (states, logits_Gx2, attention) = jax.vjp(matched, no_probe, has_aux=True)
    (gradient_GxhxLxN,) = pull_back(jnp.ones(()))
    relevance_GxLxN = (attention * jax.nn.relu(gradient_GxhxLxN)).mean(axis=1)
    return Matched(states, logits_Gx2, lax.stop_gradient(relevance_GxLxN[..., 1:]))


def _attention_shape(
    model: Model,
    params: Params,
    image_keys: Any,
    t_GxLxD: jax.Array,
    mask_GxL: jax.Array,
    layer: int,
) -> tuple[int, ...]:
    def attention(params, image_keys, t, mask):
        return model.fuse(
            params,
            image_keys,
            t,
            mask,
            key=None,
            keep_GxN=None,
            probe=None,
            layer=layer,
            first_only=False,
        )[1]

    return jax.eval_shape(attention, params, image_keys, t_GxLxD, mask_GxL).shape


def word_relevance(
    model: Model,
    params: Params,
    image_keys: Any,
    t_GxLxD: jax.Array,
    mask_GxL: jax.Array,
    *,
    layer: int,
    score: str,
) -> tuple[jax.Array, jax.Array]:
    """Returns (relevance_GxLxP, match_logits_Gx2) without dropout, for evaluation.

    The arguments are those of `match_and_explain`.
    """
    matched = match_and_explain(
        model, params, image_keys, t_GxLxD, mask_GxL, layer=layer, score=score, key=None
    )
    return matched.relevance_GxLxP, matched.logits_Gx2


def relevance_to_directions(
    model: Model, params: Params, v_GxNxD: jax.Array, direction_GxWxE: jax.Array
) -> jax.Array:
    """Returns [G, W, P]: what of an image moves its embedding along each of W directions.

    It is the mean over heads of A * relu(ds / dA), where A is the attention of the class token in
    the last image block and s the product of the unit embedding with the direction. The direction
    of a word is what the word adds to the embedding of its text, so s is its part of the cosine.

    v_GxNxD: of model.encode_image, for a model that has `look`.
    """

    def embedded(probe_GxhxN):
        return model.look(params, v_GxNxD, probe_GxhxN)

    shape = jax.eval_shape(lambda: model.look(params, v_GxNxD, None)[1]).shape
    _, pull_back, attention_GxhxN = jax.vjp(embedded, jnp.zeros(shape), has_aux=True)

    def of_direction(direction_GxE):
        (gradient_GxhxN,) = pull_back(direction_GxE)
        return (attention_GxhxN * jax.nn.relu(gradient_GxhxN)).mean(axis=1)[:, 1:]

    return jax.vmap(of_direction, in_axes=1, out_axes=1)(direction_GxWxE)


def merge_pieces(relevance_GxLxP: jax.Array, words_GxL: jax.Array) -> jax.Array:
    """Returns [G, L, P]: each token has the mean relevance of the tokens of its word.

    words_GxL: the word that a token belongs to; -1 for special tokens and padding, which get 0.
    """
    same_GxLxL = (words_GxL[:, :, None] == words_GxL[:, None, :]) & (words_GxL >= 0)[:, :, None]
    share_GxLxL = same_GxLxL / jnp.maximum(same_GxLxL.sum(-1, keepdims=True), 1)
    return exact("GLM,GMP->GLP", share_GxLxL, relevance_GxLxP)
