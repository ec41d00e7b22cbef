"""Kinds of weights by name; `open_weights` recognises the kind of a file or folder."""

from pathlib import Path

from jaxvl import copies, paths
from jaxvl.errors import UserError
from jaxvl.interop import hugging_face, tensor_files
from jaxvl.interop.kinds import albef, bert, clip, open_clip, vit
from jaxvl.interop.weights import Kind, Opened, Weights

KINDS: dict[str, Kind] = {
    "albef": albef.ALBEF,
    "bert": bert.BERT,
    "clip": clip.CLIP,
    "open_clip": open_clip.OPEN_CLIP,
    "vit": vit.VIT,
}

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")


def epsilons_of(model_name: str) -> dict[str, float]:
    """Returns {tower: the epsilon of LayerNorm that norm_epsilon=0 stands for}.

    {} for a model that no kind of weights fills.
    """
    made = {}
    for kind in KINDS.values():
        if kind.model == model_name:
            made |= kind.epsilons
    return made


def open_weights(path: Path | str) -> Weights:
    """Returns the Weights in a Hugging Face or open_clip folder, or in a file of tensors.

    Raises UserError naming what cannot be read or is not known.
    """
    place, path = str(path), copies.local(path)
    if path.is_dir() and not (path / "open_clip_config.json").is_file():
        weights = _open_hugging_face(path)
    else:
        weights = _open_state_dict(path)
    _check_settings(path, weights)
    return weights._replace(path=place, tokenizer=tokenizer_of(place))


def tokenizer_of(path: Path | str) -> str:
    """Returns the folder of weights again if it holds a tokenizer, else ""."""
    path = paths.of(path)
    return str(path) if any((path / name).is_file() for name in TOKENIZER_FILES) else ""


def _open_hugging_face(path):
    kinds = {name: kind for kind in KINDS.values() for name in kind.model_types}
    opened = hugging_face.open_folder(path, kinds)
    try:
        return kinds[opened.config["model_type"]].open(opened)
    except KeyError as error:
        raise UserError(f"{path}/config.json lacks the key {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path}/config.json has a value of the wrong type: {error}") from error


def _open_state_dict(path):
    config = path / "open_clip_config.json"
    told = tensor_files.read_json(config) if config.is_file() else {}
    opened = Opened(str(path), tensor_files.open_tensors(path), told)
    kind = _recognised(opened)
    try:
        return kind.open(opened)
    except KeyError as error:
        raise UserError(f"{path} lacks the tensor {error}") from None
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{path} has the names of a known model, but not its shapes") from error


def _recognised(opened):
    names = set(opened.tensors)
    for kind in KINDS.values():
        if kind.recognises(names):
            return kind
    if any("encoder.layer." in name or name.startswith("vision_model.") for name in names):
        raise UserError(
            f"{opened.path} has Hugging Face's names; give the folder that holds its config.json"
        )
    some = ", ".join(sorted(names)[:3])
    raise UserError(f"{opened.path} is of no known model; its tensors are named {some}, ...")


def _check_settings(path, weights):
    settings = weights.settings
    for key, value in settings.items():
        number = (int, float) if key.endswith("norm_epsilon") else int
        is_number = key.startswith(("model.image.", "model.text."))
        if is_number and not (isinstance(value, number) and value > 0):
            raise UserError(f"{path}: {key} cannot be {value!r}")
    end = settings.get("model.text.end_token", 0)
    if end >= settings.get("model.text.vocabulary_size", end + 1):
        raise UserError(f"{path}: the vocabulary has no end token {end}")
