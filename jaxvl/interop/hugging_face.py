"""What the kinds of Hugging Face weights share: config.json and the image processor's file."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvl.errors import UserError
from jaxvl.interop import tensor_files
from jaxvl.interop.weights import Opened, Settings
from jaxvl.preprocessing import PIXEL_MEAN, PIXEL_STD

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # contains the former since transformers 5
BICUBIC = 3  # Pillow's number, which their files have


def open_folder(path: Path | str, model_types: Collection[str]) -> Opened:
    """Returns the opened folder. Raises UserError where its model_type is none of `model_types`."""
    path = Path(path)
    if not (path / "config.json").is_file():
        raise UserError(f"{path} has no config.json, so the meaning of its tensors is unknown")
    config = tensor_files.read_json(path / "config.json")
    kind = config.get("model_type")
    if kind not in model_types:
        raise UserError(f"{path}: model_type {kind!r} is not known, only {', '.join(model_types)}")
    return Opened(str(path), tensor_files.open_tensors(path), config)


def filled(config: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a part of config.json with the keys that the other library leaves out.

    It writes only what differs from its defaults, in some of its versions.
    """
    return {**defaults, **(config or {})}


def tower_settings(name: str, config: Mapping[str, Any], *, epsilon: float) -> Settings:
    """Returns the sizes of the tower `name` ("image" or "text").

    epsilon: of LayerNorm where config.json does not have it.
    """
    return {
        f"model.{name}.layers": config["num_hidden_layers"],
        f"model.{name}.width": config["hidden_size"],
        f"model.{name}.heads": config["num_attention_heads"],
        f"model.{name}.mlp_width": config["intermediate_size"],
        f"model.{name}.norm_epsilon": config.get("layer_norm_eps", epsilon),
    }


def check_gelu(opened: Opened) -> None:
    """Raises UserError where the feed-forward layers have another activation than gelu."""
    activation = opened.config.get("hidden_act", "gelu")
    if activation != "gelu":
        raise UserError(f"{opened.path}: hidden_act {activation!r} is not known, only 'gelu'")


def prefix_of(names: Iterable[str], tower: str) -> str:
    """Returns what precedes the tensor names of a tower: "bert." where it has a head, else ""."""
    return f"{tower}." if any(name.startswith(f"{tower}.") for name in names) else ""


def image_processor(path: Path | str) -> dict[str, Any]:
    """Returns the settings of the image processor of a folder, {} where there are none."""
    path = Path(path)
    if (path / PREPROCESSOR).is_file():
        return tensor_files.read_json(path / PREPROCESSOR)
    if (path / PROCESSOR).is_file():
        return tensor_files.read_json(path / PROCESSOR).get("image_processor") or {}
    return {}


def mean_and_std(processor: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Returns what an image processor normalises with; CLIP's numbers where it does not say."""
    mean, std = processor.get("image_mean"), processor.get("image_std")
    return mean or list(PIXEL_MEAN), std or list(PIXEL_STD)


def other_pixels(processor: Mapping[str, Any]) -> list[str]:
    """Returns the settings of an image processor that give other pixels than jaxvl's, in words.

    Which part of an image is seen is another matter: data.eval_crop follows it.
    """
    told = []
    if not np.allclose(mean_and_std(processor), (PIXEL_MEAN, PIXEL_STD), atol=1e-6):
        mean, std = mean_and_std(processor)
        told.append(f"image_mean={mean} and image_std={std} (jaxvl knows CLIP's only)")
    if processor.get("resample", BICUBIC) != BICUBIC:
        told.append(f"resample={processor['resample']} (jaxvl resizes bicubic, {BICUBIC})")
    if not np.isclose(processor.get("rescale_factor", 1 / 255), 1 / 255, rtol=1e-4):
        told.append(f"rescale_factor={processor['rescale_factor']} (here 1 / 255)")
    for name in ("do_resize", "do_rescale", "do_normalize"):
        if processor.get(name) is False:
            told.append(f"{name}=False (here it is done)")
    return told
