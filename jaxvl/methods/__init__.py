"""Training methods by name.

`METHODS[name].make(config, model, *, steps_per_epoch)` returns a jaxvl.types.Method.
"""

from jaxvl.methods import ahnpl, albef, clip, softmask, softmask_ahnpl
from jaxvl.types import Component

METHODS: dict[str, Component] = {
    "albef": albef.ALBEF,
    "softmask": softmask.SOFTMASK,
    "clip": clip.CLIP,
    "ahnpl": ahnpl.AHNPL,
    "softmask_ahnpl": softmask_ahnpl.SOFTMASK_AHNPL,
}
