"""The sigmoid contrastive loss (SigLIP; Zhai et al., ICCV 2023), which classifies each pair alone.

Letters: R rows, M keys, C keys of a chunk, n chunks, E embedding.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.losses.chunks import in_chunks
from jaxvl.losses.contrastive import Keys, belong
from jaxvl.ops.dot import exact
from jaxvl.types import ContrastiveLoss

FOCAL_METHODS = ("softmask", "softmask_ahnpl")  # they read softmask.focal_gamma


def itc(
    z_RxE: jax.Array,
    ids_Rx2: jax.Array,
    keys: Keys,
    scale: jax.Array | float,
    *,
    bias: jax.Array | float,
    chunk: int,
) -> jax.Array:
    """Returns float32 [R]: the sum over keys of -log sigmoid(+-(scale * z . k + bias)).

    The sign is + for the keys that `belong` to the row and - for all others.
    Keys that do not exist add nothing.

    z_RxE, keys: unit embeddings. scale: 1 / temperature. bias: a learned scalar. chunk: keys at a
    time, so that [R, M] is never in memory; 0: all.

    Source: Zhai et al. 2023, section 3.2. The mean of the rows is their loss of a batch.
    """
    if not chunk:
        return _part(z_RxE, ids_Rx2, *keys, scale, bias)
    chunks = in_chunks(chunk, *keys)

    @jax.checkpoint  # the backward pass recomputes the logits of a chunk
    def add(sum_R, one):
        keys_CxE, ids_Cx2, exists_C = one
        return sum_R + _part(z_RxE, ids_Rx2, keys_CxE, ids_Cx2, exists_C, scale, bias), None

    sum_R, _ = lax.scan(add, jnp.zeros(z_RxE.shape[0]), tuple(chunks))
    return sum_R


def _part(
    z_RxE: jax.Array,
    ids_Rx2: jax.Array,
    keys_CxE: jax.Array,
    ids_Cx2: jax.Array,
    exists_C: jax.Array,
    scale: jax.Array | float,
    bias: jax.Array | float,
) -> jax.Array:
    logits_RxC = scale * exact("RE,CE->RC", z_RxE, keys_CxE) + bias
    same_RxC = belong(ids_Rx2, ids_Cx2)
    signed_RxC = jnp.where(same_RxC, logits_RxC, -logits_RxC)
    return jnp.where(exists_C[None], jax.nn.softplus(-signed_RxC), 0.0).sum(-1)


def _rows(
    z_RxE: jax.Array,
    ids_Rx2: jax.Array,
    keys: Keys,
    scale: jax.Array | float,
    *,
    learned: dict[str, Any],
    chunk: int,
    **unused: Any,
) -> jax.Array:
    del unused  # momentum, gamma, focal_on: `_check` refuses a configuration that needs them
    return itc(z_RxE, ids_Rx2, keys, scale, bias=learned["bias"], chunk=chunk)


def _check(config: ConfigDict) -> None:
    fused = config.model.name == "albef"
    require(
        not fused or config.momentum.distill == 0,
        f"momentum.distill={config.momentum.distill}, but loss.contrastive='sigmoid' has no soft "
        "targets; set momentum.distill to 0",
    )
    require(
        config.method not in FOCAL_METHODS or config.softmask.focal_gamma == 0,
        f"softmask.focal_gamma={config.softmask.focal_gamma}, but loss.contrastive='sigmoid' has "
        "no focal factor; set softmask.focal_gamma to 0",
    )


SIGMOID = ContrastiveLoss(
    _rows,
    learned=lambda config: {"bias": jnp.asarray(config.loss.sigmoid_bias, jnp.float32)},
    keys={
        "loss": {
            "sigmoid_bias": Key(
                -10.0, "bias of the sigmoid loss's logits at the start; it is learned"
            )
        }
    },
    check=_check,
)
