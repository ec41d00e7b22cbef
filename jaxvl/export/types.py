"""The contracts of weights out: a `Format` writes a `Run` as a folder for PyTorch.

Nothing here imports JAX, TensorFlow or PyTorch: `jaxvl export --help` and the process that has
PyTorch (see `jaxvl.export.pytorch`) both need it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ml_collections import ConfigDict

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

    from jaxvl.interop.names import Layout


class Run(NamedTuple):
    """A run at one step, except for its parameters.

    config: of the run; norm_epsilon is the number itself, never 0. preprocessing: of
    `jaxvl.preprocessing.numbers_of`. weights: "ema" (their running mean) or "online". start: the
    names of the weights that the run started from, at step 0 those that were converted; [] where
    parameters were drawn at random. scores: of results.json, {} where there are none.
    """

    config: ConfigDict
    tokenizer: "Tokenizer"
    preprocessing: dict[str, Any]
    step: int
    weights: str
    start: list[str]
    scores: dict[str, Any]


class Card(NamedTuple):
    """What a format contributes to the model card.

    title: the family of models. library, pipeline, tags: metadata of the Hugging Face Hub; pipeline
    "" where the Hub knows no fitting task. use: Python code that opens the folder, called FOLDER.
    inputs, limits: (config) -> further lines for the sections of these names.
    """

    title: str
    library: str
    tags: tuple[str, ...]
    use: str
    pipeline: str = ""
    inputs: Callable[[ConfigDict], Sequence[str]] = lambda config: ()
    limits: Callable[[ConfigDict], Sequence[str]] = lambda config: ()


class Option(NamedTuple):
    """Something that a format can write in addition: a flag of `jaxvl export`.

    about: for --help. write_and_read: (folder, Run) -> {quantity: array}, in PyTorch's process.
    libraries: that it imports. extra: of jaxvl, which installs these.
    """

    about: str
    write_and_read: "Callable[[Path, Run], dict[str, np.ndarray]]"
    libraries: tuple[str, ...]
    extra: str


class Format(NamedTuple):
    """One kind of folder: a file of this package and a line in its FORMATS.

    model: the model.name that it is for. about: one line for --help.
    layout: (config) -> the names of the tensors; parameters without a rule are left out.
    write: (folder, Run, path of the tensors as safetensors) -> None: fills an empty folder.
    read: (folder, Run) -> {quantity: array}: what the loaded folder computes of
      `jaxvl.export.examples`, for the quantities of `jaxvl.export.check`.
    card: for the model card. check: (config) -> None; raises UserError for a configuration that the
    format cannot express. options: by name of the flag.

    `write` and `read` are called in PyTorch's process, which finds them by module and name.
    """

    model: str
    about: str
    layout: "Callable[[ConfigDict], Layout]"
    write: "Callable[[Path, Run, Path], None]"
    read: "Callable[[Path, Run], dict[str, np.ndarray]]"
    card: Card
    check: Callable[[ConfigDict], None] = lambda config: None
    options: Mapping[str, Option] = {}
