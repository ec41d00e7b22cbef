"""The two contracts of weights in: a `Kind` knows how to open one kind of weights as `Weights`."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.interop.names import Layout
from jaxvl.interop.tensor_files import Tensors

# State dicts do not tell the heads. Those of published CLIP and ALBEF models are 64 wide, but for
# the image towers of three models of open_clip, ViT-H, g and bigG, each with 16 heads.
HEAD_WIDTH = 64
HEADS_OF_WIDTH = {"image": {1280: 16, 1408: 16, 1664: 16}, "text": {}}

Settings = dict[str, Any]  # {dotted key of the configuration: value}


class Opened(NamedTuple):
    """A file or folder of weights whose kind is not known yet.

    path: for messages. tensors: all tensors in it. config: the object of the JSON file that lies
    beside them (config.json or open_clip_config.json), {} where there is none.
    """

    path: str
    tensors: Tensors
    config: dict[str, Any]


class Weights(NamedTuple):
    """One opened source of weights.

    path, kind: for messages.
    tensors: name -> array, read when it is looked up.
    layout: (config.model) -> the names of the tensors.
    settings: keys of config.model that the weights fix; a run on these weights must have them.
    start: keys that `jaxvl convert` sets too, but in which a run may differ.
    guesses: the same, of keys of config.model that the weights do not tell.
    unknown: {key: advice} of keys that the weights do not tell and that `convert` must be given.
    check: (config) -> None; raises UserError where a run's configuration cannot use the weights.
    skipped: {regular expression: (what it matches, why it is not read)} of tensors that are the
      state of the training and not weights.
    tokenizer: path of the tokenizer that comes with the weights, "" for none.
    notes: what the user should know, for the report.
    """

    path: str
    kind: str
    tensors: Mapping[str, np.ndarray]
    layout: Callable[[ConfigDict], Layout]
    settings: Settings
    start: Settings = {}
    guesses: Settings = {}
    unknown: Mapping[str, str] = {}
    check: Callable[[ConfigDict], None] = lambda config: None
    skipped: Mapping[str, tuple[str, str]] = {}
    tokenizer: str = ""
    notes: tuple[str, ...] = ()


class Kind(NamedTuple):
    """One kind of weights: a file of `jaxvl.interop.kinds` and a line in its KINDS.

    open: (Opened) -> Weights; raises UserError, or KeyError for a tensor or a key that is absent.
    model_types: values of `model_type` in a Hugging Face config.json that name this kind.
    recognises: (tensor names) -> bool, for files without a config.json.
    model: the model.name whose parameters these weights fill completely; "" for a part of a model.
    layout: (config.model) -> the names of all tensors of `model`; None where `model` is "".
    epsilons: {tower: the epsilon of LayerNorm that norm_epsilon=0 stands for} of `model`.
    """

    open: Callable[[Opened], Weights]
    model_types: tuple[str, ...] = ()
    recognises: Callable[[Collection[str]], bool] = lambda names: False
    model: str = ""
    layout: Callable[[ConfigDict], Layout] | None = None
    epsilons: Mapping[str, float] = {}


def heads_of(tower: str, width: int) -> tuple[Settings, dict[str, str]]:
    """Returns (a guess of the heads of a tower, advice where there is none).

    tower: "image" or "text". As `guesses` and `unknown` of Weights.
    """
    key = f"model.{tower}.heads"
    if width in HEADS_OF_WIDTH[tower]:
        return {key: HEADS_OF_WIDTH[tower][width]}, {}
    if width % HEAD_WIDTH:
        return {}, {key: f"{key}=N, which divides its width of {width}"}
    return {key: width // HEAD_WIDTH}, {}


def layer_count(names: Iterable[str], pattern: str) -> int:
    """Returns the number of layers: 1 + the largest number in the first group of `pattern`."""
    matches = map(re.compile(pattern).match, names)
    return 1 + max((int(found[1]) for found in matches if found), default=-1)
