"""A step of the small ALBEF model with a method, for tests of methods."""

import jax
import jax.numpy as jnp
from small import small_batch, small_config, under_way

from jaxvl.methods import METHODS
from jaxvl.models import MODELS

OFF = dict(weight=0.0, focal_gamma=0.0, text_augmentation=False)  # of config.softmask


def run(config, *, batch=None, step=0, slots=None, seed=1):
    """Returns (loss, metrics, slots, gradient) of one step from the same parameters.

    slots: None for those of the middle of a run, where the momentum encoders differ from the
    parameters.
    """
    model = MODELS["albef"].make(config)
    method = METHODS[config.method].make(config, model, steps_per_epoch=10)
    params = model.init(jax.random.key(0))
    slots = under_way(method.init_slots(params)) if slots is None else slots
    batch = small_batch() if batch is None else batch

    @jax.jit
    def value(params, slots, batch, step):
        return jax.value_and_grad(
            lambda p: method.forward(p, slots, batch, step=step, key=jax.random.key(seed)),
            has_aux=True,
        )(params)

    (loss, (metrics, slots)), gradient = value(params, slots, batch, jnp.int32(step))
    return loss, metrics, slots, gradient


def configured(method, **softmask):
    """Returns the small configuration for a method, with these keys of softmask."""
    config = small_config()
    config.method = method
    config.softmask.update(softmask)
    return config
