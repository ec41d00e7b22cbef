"""Models by name: each `make(config)` returns a jaxvl.types.Model."""

from jaxvl.models import albef, clip

MODELS = {"albef": albef.make, "clip": clip.make}
