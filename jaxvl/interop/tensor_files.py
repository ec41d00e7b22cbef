"""Named tensors in the files that PyTorch projects publish; each is read when it is looked up.

Safetensors are read without PyTorch. Pickled files are read with torch.load(weights_only=True),
which builds tensors and nothing else: a file that would run code is refused.
"""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401  (gives NumPy bfloat16)
import numpy as np

from jaxvl.errors import UserError

if TYPE_CHECKING:
    import torch

Readers = dict[str, Callable[[], np.ndarray]]

WEIGHT_FILES = (  # of those in a folder the first one is read
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)
WRAPPERS = ("model", "state_dict", "module")  # {"model": the tensors, "optimizer": ...}


class Tensors(Mapping[str, np.ndarray]):
    """A mapping name -> NumPy array that reads an array when it is looked up."""

    def __init__(self, readers: Readers):
        """readers: {name: function without arguments that returns the array}."""
        self._readers = readers

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def renamed(self, rename: Callable[[str], str]) -> "Tensors":
        """Returns the same tensors under rename(name)."""
        return Tensors({rename(name): reader for name, reader in self._readers.items()})

    def replaced(self, name: str, reader: Callable[[], np.ndarray]) -> "Tensors":
        """Returns the same tensors, except that `reader` reads the one called `name`."""
        return Tensors(self._readers | {name: reader})


def open_tensors(path: Path | str) -> Tensors:
    """Returns the Tensors of a file, or of a folder with one or several files of weights.

    Names are those of the bare model: without a wrapper, without the prefix of parallel training,
    and with today's names for the parameters of LayerNorm. Raises UserError naming what cannot be
    read.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist")
    files = _files_of(path) if path.is_dir() else [path]
    readers: Readers = {}
    for file in files:
        opened = _open_safetensors(file) if file.suffix == ".safetensors" else _open_torch(file)
        readers |= opened
    if not readers:
        raise UserError(f"{path} holds no tensors")
    return Tensors(readers).renamed(_modern_name(readers))


def _modern_name(names: Iterable[str]) -> Callable[[str], str]:
    parallel = all(name.startswith("module.") for name in names)

    def rename(name):
        name = name.removeprefix("module.") if parallel else name
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
        return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)

    return rename


def _files_of(folder: Path) -> list[Path]:
    for name in WEIGHT_FILES:
        index, stem = folder / f"{name}.index.json", Path(name)
        if index.is_file():
            return _files_of_index(index)
        if (folder / name).is_file():
            return [folder / name]
        shards = sorted(folder.glob(f"{stem.stem}-*-of-*{stem.suffix}"))
        if shards:
            count = int(shards[0].stem.rpartition("-of-")[2])
            if len(shards) != count:
                raise UserError(
                    f"{folder} has {len(shards)} of {count} files {shards[0].name}, ..."
                )
            return shards
    raise UserError(f"{folder} has no weights: none of {', '.join(WEIGHT_FILES)}")


def _files_of_index(index: Path) -> list[Path]:
    told = read_json(index).get("weight_map")
    if not isinstance(told, dict) or not all(isinstance(name, str) for name in told.values()):
        raise UserError(f"{index} does not tell which tensor is in which file")
    names = sorted(set(told.values()))
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise UserError(f"{index} names {name}, which is not in its folder")
    return [index.parent / name for name in names]


def read_json(path: Path | str) -> dict[str, Any]:
    """Returns the object in a JSON file. Raises UserError naming a file that holds none."""
    try:
        value = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object")
    return value


def _open_safetensors(path: Path) -> Readers:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(str(path), framework="numpy")
        names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a complete safetensors file: {error}") from None
    return {name: lambda name=name: file.get_tensor(name) for name in names}


def _open_torch(path: Path) -> Readers:
    loaded = _load_torch(path)
    while isinstance(loaded, dict) and any(isinstance(loaded.get(w), dict) for w in WRAPPERS):
        loaded = next(loaded[w] for w in WRAPPERS if isinstance(loaded.get(w), dict))
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds a {type(loaded).__name__}, not named tensors")
    return {
        name: lambda tensor=tensor: _to_numpy(tensor)
        for name, tensor in loaded.items()
        if isinstance(name, str) and _is_plain(tensor)
    }


def _load_torch(path: Path) -> object:
    try:
        import torch
    except ImportError:
        raise UserError(f"reading {path} needs torch: pip install 'jaxvl[torch]'") from None
    mapped = zipfile.is_zipfile(path)
    if mapped and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        raise UserError(
            f"{path} is a TorchScript archive, which can run code, and is refused; load it "
            "yourself with torch.jit.load and save its state_dict() with torch.save"
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} {_why_refused(str(error))}") from None
    except Exception as error:  # the unpickler can raise anything where the bytes are no pickle
        reason = str(error).split(". ")[0].splitlines() or [""]
        raise UserError(
            f"{path} is not a complete file of tensors: {type(error).__name__} {reason[0]}"
        ) from None


def _is_plain(value: object) -> bool:
    import torch

    if not isinstance(value, torch.Tensor):
        return False
    return value.layout == torch.strided and not (value.is_meta or value.is_quantized)


def _why_refused(message: str) -> str:
    wanted = re.search(r"(?:GLOBAL|class|function) ([\w.]+)", message)
    if wanted:
        return f"would run code ({wanted[1]}) and is refused; only files of tensors are read"
    return "is not a file of tensors and is refused"  # torch's message tells how to run its code


def _to_numpy(tensor: "torch.Tensor") -> np.ndarray:
    if tensor.is_floating_point():
        tensor = tensor.float()
    return np.asarray(tensor.detach())
