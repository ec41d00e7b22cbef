"""Models by name: each `make(config)` returns a jaxvl.types.Model."""

from jaxvl.models import albef

MODELS = {"albef": albef.make}
