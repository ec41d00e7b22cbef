"""What a word looks at: Grad-CAM of the match score through the fusion encoder's attention.

Letters: G batch, L text tokens, N image tokens (class token first), P = N - 1 patches, h heads,
D width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.models.albef import MATCH


class Matched(NamedTuple):
    """One fusion pass of pairs: differentiable outputs, and the relevance, which is not."""

    states_GxLxD: jax.Array
    logits_Gx2: jax.Array
    relevance_GxLxP: jax.Array


def match_and_explain(model, params, image_keys, t_GxLxD, mask_GxL, *, layer, score, key):
    """Returns Matched: the pass that matching needs anyway, and its relevance (methods.md 2).

    relevance = mean over heads of A * relu(dscore/dA), A the cross-attention probabilities of
    fusion layer `layer`. score: "logit" or "probability" of the match. The pull-back goes through
    the layers above `layer` only, and no gradient flows through the relevance.
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


def _attention_shape(model, params, image_keys, t_GxLxD, mask_GxL, layer):
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


def word_relevance(model, params, image_keys, t_GxLxD, mask_GxL, *, layer, score):
    """Returns (relevance_GxLxP, match_logits_Gx2) without dropout, for evaluation."""
    matched = match_and_explain(
        model, params, image_keys, t_GxLxD, mask_GxL, layer=layer, score=score, key=None
    )
    return matched.relevance_GxLxP, matched.logits_Gx2


def merge_pieces(relevance_GxLxP, words_GxL):
    """Returns [G, L, P]: each token has the mean over the pieces of its word; others have 0.

    words_GxL: index of the word that a token belongs to, -1 for special tokens and padding.
    """
    same_GxLxL = (words_GxL[:, :, None] == words_GxL[:, None, :]) & (words_GxL >= 0)[:, :, None]
    share_GxLxL = same_GxLxL / jnp.maximum(same_GxLxL.sum(-1, keepdims=True), 1)
    return jnp.einsum("GLM,GMP->GLP", share_GxLxL, relevance_GxLxP)
