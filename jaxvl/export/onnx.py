"""ONNX graphs beside an exported torch folder, and what onnxruntime computes with them.

    image_encoder.onnx  pixels -> image_states, image_embedding
    text_encoder.onnx   ids, mask -> text_states, text_embedding
    match.onnx          image_states, text_states, mask -> fused_states, match_logits

They take any number of images or texts. Heat-maps need a gradient, which ONNX does not have.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from jaxvl.export import examples, torch_folder

if TYPE_CHECKING:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    from jaxvl.export.modeling_jaxvl import Model


class ImageEncoder(nn.Module):
    """Model.encode_image as a graph of tensors."""

    def __init__(self, model: "Model"):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Returns states and embeddings."""
        return tuple(self.model.encode_image(pixels))


class TextEncoder(nn.Module):
    """Model.encode_text as a graph of tensors."""

    def __init__(self, model: "Model"):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Returns states and embeddings."""
        encoded = self.model.encode_text(SimpleNamespace(ids=ids, mask=mask))  # pyright: ignore
        return encoded.states, encoded.embedding


class Match(nn.Module):
    """Model.fuse as a graph of tensors."""

    def __init__(self, model: "Model"):
        super().__init__()
        self.model = model

    def forward(
        self, image_states: Tensor, text_states: Tensor, mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Returns the fused states and the match logits of pairs."""
        return self.model.fuse_states(image_states, text_states, mask)[:2]


GRAPHS: dict[str, tuple[type[nn.Module], tuple[str, ...], tuple[str, ...]]] = {
    # name: (module, inputs, outputs)
    "image_encoder": (ImageEncoder, ("pixels",), ("image_states", "image_embedding")),
    "text_encoder": (TextEncoder, ("ids", "mask"), ("text_states", "text_embedding")),
    "match": (
        Match,
        ("image_states", "text_states", "mask"),
        ("fused_states", "match_logits"),
    ),
}
QUANTITIES = {  # output: quantity of jaxvl.export.check
    "image_states": "image states",
    "image_embedding": "image embeddings",
    "text_states": "text states",
    "text_embedding": "text embeddings",
    "fused_states": "fused states",
    "match_logits": "match logits",
}


def write_and_read(folder: Path) -> dict[str, np.ndarray]:
    """Writes the graphs; returns {"onnx " + quantity: array}, computed by onnxruntime."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    model, prepare = torch_folder.module_in(folder).load(folder)
    texts = prepare.texts(examples.CAPTIONS)
    known = {
        "pixels": prepare.images(examples.images()),
        "ids": texts.ids,
        "mask": texts.mask,
    }
    for name, (module, inputs, outputs) in GRAPHS.items():
        path = folder / f"{name}.onnx"
        _write(module(model).eval(), path, {key: known[key] for key in inputs}, outputs)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = _in_two(session, outputs, {key: known[key].numpy() for key in inputs})
        known |= {key: torch.from_numpy(value) for key, value in found.items()}
    return {f"onnx {quantity}": known[name].numpy() for name, quantity in QUANTITIES.items()}


def _in_two(
    session: "onnxruntime.InferenceSession",
    outputs: Sequence[str],
    inputs: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Returns {output: array}, computed in two batches of other sizes than the traced one."""
    first, second = (
        session.run(outputs, {key: array[rows] for key, array in inputs.items()})
        for rows in (slice(0, 3), slice(3, None))
    )
    return {key: np.concatenate(both) for key, *both in zip(outputs, first, second)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter, which reports on its internals on stdout, in logs and in warnings."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _write(
    module: nn.Module, path: Path, inputs: Mapping[str, Tensor], outputs: Sequence[str]
) -> None:
    rows = torch.export.Dim("rows")
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: rows} for _ in inputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
