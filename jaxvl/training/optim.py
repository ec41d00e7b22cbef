"""AdamW as in the papers: linear warm-up, cosine decay, no weight decay on biases and norms."""

import functools

import jax
import optax
from ml_collections import ConfigDict

from jaxvl.types import Params

NO_DECAY = ("bias", "scale", "temperature")  # last word of a parameter's name: key_bias too


def make_schedule(optim: ConfigDict, *, total_steps: int) -> optax.Schedule:
    """Returns step -> learning rate: linear over `warmup_steps`, then a cosine to `total_steps`.

    optim: config.optim.
    """
    warmup = optax.linear_schedule(
        optim.warmup_learning_rate, optim.learning_rate, optim.warmup_steps
    )
    highest, last = optim.learning_rate, optim.final_learning_rate
    cosine = optax.cosine_decay_schedule(
        highest,
        max(total_steps - optim.warmup_steps, 1),
        alpha=last / highest if highest else 0.0,
    )
    return optax.join_schedules([warmup, cosine], [optim.warmup_steps])


def decay_mask(params: Params, *, temperature: bool) -> Params:
    """Returns a tree of bools: True for the parameters that weight decay acts on.

    temperature: whether it acts on the temperature.
    """

    def decays(path, _):
        name = jax.tree_util.keystr(path[-1:], simple=True).split("_")[-1]
        return name not in NO_DECAY or temperature and name == "temperature"

    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(optim: ConfigDict, *, total_steps: int) -> optax.GradientTransformation:
    """Returns the optax transformation of config.optim: clipping where it is on, then AdamW."""
    adamw = optax.adamw(
        make_schedule(optim, total_steps=total_steps),
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        mask=functools.partial(decay_mask, temperature=optim.decay_temperature),
    )
    if optim.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(optim.clip_norm), adamw)
    return adamw
