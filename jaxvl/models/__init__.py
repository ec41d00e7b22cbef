"""Models by name: `MODELS[name].make(config)` returns a jaxvl.types.Model."""

from jaxvl.models import albef, clip
from jaxvl.types import Component

MODELS: dict[str, Component] = {"albef": albef.ALBEF, "clip": clip.CLIP}
