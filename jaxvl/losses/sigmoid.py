"""The sigmoid image-text loss (Zhai et al., ICCV 2023, "SigLIP"): every pair is a yes-no question.

Letters: R rows, M keys, C keys of a chunk, n chunks, E embedding.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.losses.contrastive import Keys, in_chunks
from jaxvl.types import ContrastiveLoss


def itc(z_RxE, image_id_R, keys: Keys, scale, *, bias, chunk):
    """Returns float32 [R]: the sum over keys of -log sigmoid(+-(scale * z . k + bias)).

    The sign is + for the keys of the row's own image and - for all others, hard negatives among
    them; keys that do not exist add nothing. bias: a scalar, learned. chunk: keys at a time, so
    that no [R, M] is ever held; 0: all at once. Source: Zhai et al. 2023, section 3.2; their batch
    loss is the mean of these rows.
    """
    if not chunk:
        return _part(z_RxE, image_id_R, *keys, scale, bias)
    chunks = in_chunks(chunk, *keys)

    @jax.checkpoint  # the backward pass computes a chunk's logits again
    def add(sum_R, one):
        return sum_R + _part(z_RxE, image_id_R, *one, scale, bias), None

    sum_R, _ = lax.scan(add, jnp.zeros(z_RxE.shape[0]), tuple(chunks))
    return sum_R


def _part(z_RxE, image_id_R, keys_CxE, image_id_C, exists_C, scale, bias):
    logits_RxC = scale * (z_RxE @ keys_CxE.T) + bias
    same_RxC = image_id_R[:, None] == image_id_C[None]  # a hard negative's image is -1
    signed_RxC = jnp.where(same_RxC, logits_RxC, -logits_RxC)
    return jnp.where(exists_C[None], jax.nn.softplus(-signed_RxC), 0.0).sum(-1)


def _rows(z_RxE, image_id_R, keys, scale, *, learned, twin, gamma, focal_on, chunk):
    del twin, gamma, focal_on  # `_check` refuses a configuration that asks for them
    return itc(z_RxE, image_id_R, keys, scale, bias=learned["bias"], chunk=chunk)


def _check(config):
    fused = config.model.name == "albef"
    require(
        not fused or config.momentum.distill == 0,
        f"momentum.distill={config.momentum.distill}, but loss.contrastive='sigmoid' has no soft "
        "targets; set it to 0",
    )
    require(
        not config.method.startswith("softmask") or config.softmask.focal_gamma == 0,
        f"softmask.focal_gamma={config.softmask.focal_gamma}, but loss.contrastive='sigmoid' has "
        "no focal factor; set it to 0",
    )


SIGMOID = ContrastiveLoss(
    _rows,
    learned=lambda config: {"bias": jnp.asarray(config.loss.sigmoid_bias, jnp.float32)},
    keys={
        "loss": {
            "sigmoid_bias": Key(-10.0, "of the sigmoid loss's logits, at the start; it is learned")
        }
    },
    check=_check,
)
