"""Losses. The contrastive ones by name: `config.loss.contrastive` chooses, for every method."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from jaxvl.losses import contrastive, sigmoid
from jaxvl.types import ContrastiveLoss

CONTRASTIVE: dict[str, ContrastiveLoss] = {
    "softmax": contrastive.SOFTMAX,
    "sigmoid": sigmoid.SIGMOID,
}


def learned(config: ConfigDict) -> dict[str, Any]:
    """Returns {"contrastive": parameters of the chosen contrastive loss}; {} where it has none."""
    params = CONTRASTIVE[config.loss.contrastive].learned(config)
    return {"contrastive": params} if params else {}


def make_contrast(config: ConfigDict) -> Callable:
    """Returns the chosen contrastive loss.

    It is called as (params, z_RxE, image_id_R, keys, scale, *, twin, gamma, focal_on) and returns
    float32 [R]; all but `params`, the model's, are arguments of `contrastive.itc`.
    """
    rows = CONTRASTIVE[config.loss.contrastive].rows

    def contrast(params, z_RxE, image_id_R, keys, scale, *, twin=None, gamma=0, focal_on="all"):
        return rows(
            z_RxE,
            image_id_R,
            keys,
            scale,
            learned=params.get("contrastive", {}),
            twin=twin,
            gamma=gamma,
            focal_on=focal_on,
            chunk=config.loss.itc_chunk,
        )

    return contrast
