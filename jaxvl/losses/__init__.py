"""Losses. `config.loss.contrastive` names the contrastive loss that every method uses."""

from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from jaxvl.losses import contrastive, sigmoid
from jaxvl.losses.contrastive import Keys, Momentum
from jaxvl.types import ContrastiveLoss, Params

CONTRASTIVE: dict[str, ContrastiveLoss] = {
    "softmax": contrastive.SOFTMAX,
    "sigmoid": sigmoid.SIGMOID,
}


def learned(config: ConfigDict) -> Params:
    """Returns {"contrastive": parameters of the contrastive loss at step 0}; {} if it has none."""
    params = CONTRASTIVE[config.loss.contrastive].learned(config)
    return {"contrastive": params} if params else {}


def make_contrast(config: ConfigDict) -> Callable[..., jax.Array]:
    """Returns the contrastive loss that the configuration names.

    It is called as (params, z_RxE, ids_Rx2, keys, scale, *, momentum, gamma, focal_on) and
    returns float32 [R]. params: all those of the model. The other arguments are those of
    `contrastive.itc`; momentum, gamma and focal_on may be left out.
    """
    rows = CONTRASTIVE[config.loss.contrastive].rows

    def contrast(
        params: Params,
        z_RxE: jax.Array,
        ids_Rx2: jax.Array,
        keys: Keys,
        scale: jax.Array | float,
        *,
        momentum: Momentum | None = None,
        gamma: float = 0,
        focal_on: str = "all",
    ) -> jax.Array:
        return rows(
            z_RxE,
            ids_Rx2,
            keys,
            scale,
            learned=params.get("contrastive", {}),
            momentum=momentum,
            gamma=gamma,
            focal_on=focal_on,
            chunk=config.loss.itc_chunk,
        )

    return contrast
