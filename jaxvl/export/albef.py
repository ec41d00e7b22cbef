"""--format albef: one file in the layout of ALBEF's own checkpoints, for ALBEF's own code."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict

from jaxvl import preprocessing
from jaxvl.errors import UserError
from jaxvl.export.torch_folder import answers, heatmap_inputs, model_config, write_json
from jaxvl.export.types import Card, Format, Run

if TYPE_CHECKING:
    from jaxvl.interop.names import Layout

FILE = "ALBEF.pth"
EPSILONS = {"image": 1e-6, "text": 1e-12}  # of LayerNorm, constants in ALBEF's code
KNOWN = {"fusion_tokens": "all", "match_read": "first", "image.stem": "linear"}

# Parts of which the file also holds the momentum encoder's copy, as NAME_m. ALBEF starts from both.
MOMENTUM = ("visual_encoder", "text_encoder", "vision_proj", "text_proj")

USE = """import torch
from models.model_retrieval import ALBEF    # ALBEF's own code

model.load_state_dict(torch.load("FOLDER/ALBEF.pth", weights_only=True)["model"], strict=False)"""


def layout(config: ConfigDict) -> "Layout":
    """Returns the tensor names."""
    from jaxvl.interop.kinds import albef

    return albef.layout(config.model)


def check(config: ConfigDict) -> None:
    """Raises UserError for a model that ALBEF's code cannot express."""
    check_epsilons(config, EPSILONS, of="ALBEF's own code")
    for key, known in KNOWN.items():
        value = config.model.image.stem if key == "image.stem" else config.model[key]
        if value != known:
            raise UserError(
                f"model.{key}={value} cannot be exported: ALBEF's own code knows {known} only; "
                "--format torch writes a folder with code of its own"
            )


def check_epsilons(config: ConfigDict, epsilons: dict[str, float], *, of: str) -> None:
    """Raises UserError where a tower has another epsilon of LayerNorm than the only one there is.

    epsilons: by tower. of: the code that knows no other.
    """
    for tower, known in epsilons.items():
        epsilon = config.model[tower].norm_epsilon
        if epsilon != known:
            raise UserError(
                f"model.{tower}.norm_epsilon={epsilon} cannot be exported: {of} knows {known} only"
            )


def write(folder: Path, run: Run, tensors: Path) -> None:
    """Writes ALBEF.pth, with tensors under "model", tokenizer.json and preprocessing.json."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(tensors)
    with open(folder / FILE, "wb") as file:
        torch.save({"model": weights | _momentum(weights)}, file)
    run.tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / preprocessing.FILE, run.preprocessing)


def _momentum(weights):
    parts = {name: name.partition(".") for name in weights}
    return {
        f"{part}_m.{rest}": weights[name]
        for name, (part, _, rest) in parts.items()
        if part in MOMENTUM
    }


def read(folder: Path, run: Run) -> dict[str, np.ndarray]:
    """Returns {quantity: array} of ALBEF.pth in modeling_jaxvl, whose tensor names are ALBEF's."""
    import torch
    from tokenizers import Tokenizer

    from jaxvl.data.images.upright import upright_rgb
    from jaxvl.data.text.words import spans_of
    from jaxvl.export import modeling_jaxvl
    from jaxvl.export.reader import Reader

    config = model_config(run)
    state = torch.load(folder / FILE, weights_only=True)["model"]
    model = modeling_jaxvl.Model(config)
    missing, left_over = model.load_state_dict(state, strict=False)
    unknown = [name for name in left_over if "_m." not in name and ".decoder." not in name]
    if missing or unknown:
        raise KeyError(f"{FILE}: missing {missing}, left over {unknown}")
    numbers = json.loads((folder / preprocessing.FILE).read_text())
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reader = Reader(config["tokens"], words, spans_of)
    prepare = modeling_jaxvl.Prepare(numbers, reader, upright_rgb)
    return answers(model.eval(), prepare)


ALBEF = Format(
    model="albef",
    about="the same in the layout of ALBEF's own checkpoints",
    layout=layout,
    write=write,
    read=read,
    card=Card(
        title="ALBEF",
        library="pytorch",
        tags=("albef", "softmask", "image-text-retrieval", "image-text-matching"),
        use=USE,
        inputs=heatmap_inputs,
    ),
    check=check,
)
