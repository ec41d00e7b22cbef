"""Methods by name: each `make(config, model, steps_per_epoch=...)` returns a jaxvl.types.Method."""

from jaxvl.methods import ahnpl, albef, clip, softmask, softmask_ahnpl

METHODS = {
    "albef": albef.make,
    "softmask": softmask.make,
    "clip": clip.make,
    "ahnpl": ahnpl.make,
    "softmask_ahnpl": softmask_ahnpl.make,
}
