"""Weights out: folders for PyTorch, each proven equal to JAX. Formats by name.

Imports nothing heavy: `jaxvl export --help` reads this table.
"""

from jaxvl.export import albef, hf, open_clip, torch_folder
from jaxvl.export.types import Format

FORMATS: dict[str, Format] = {
    "torch": torch_folder.TORCH,
    "albef": albef.ALBEF,
    "hf": hf.HF,
    "open_clip": open_clip.OPEN_CLIP,
}
