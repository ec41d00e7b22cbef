"""ONNX beside an exported torch folder: three graphs, and what onnxruntime makes of them.

    image_encoder.onnx  pixels -> image_states, image_embedding
    text_encoder.onnx   ids, mask -> text_states, text_embedding
    match.onnx          image_states, text_states, mask -> fused_states, match_logits

Any number of pictures or texts; heat-maps need a gradient and stay with PyTorch.
"""

import contextlib
import io
import logging
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from jaxvl.export import check, read


class ImageEncoder(nn.Module):
    """Model.encode_image as a graph."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        return tuple(self.model.encode_image(pixels))


class TextEncoder(ImageEncoder):
    """Model.encode_text as a graph of tensors."""

    def forward(self, ids, mask):
        encoded = self.model.encode_text(SimpleNamespace(ids=ids, mask=mask))
        return encoded.states, encoded.embedding


class Match(ImageEncoder):
    """Model.fuse as a graph of tensors."""

    def forward(self, image_states, text_states, mask):
        bert = self.model.text_encoder.bert
        states, _ = bert.fuse(text_states, mask, image_states)
        return states, self.model.itm_head(states[:, 0])


GRAPHS = {  # name: (module, inputs, outputs)
    "image_encoder": (ImageEncoder, ("pixels",), ("image_states", "image_embedding")),
    "text_encoder": (TextEncoder, ("ids", "mask"), ("text_states", "text_embedding")),
    "match": (
        Match,
        ("image_states", "text_states", "mask"),
        ("fused_states", "match_logits"),
    ),
}
QUANTITIES = {
    "image_states": "image states",
    "image_embedding": "image embeddings",
    "text_states": "text states",
    "text_embedding": "text embeddings",
    "fused_states": "fused states",
    "match_logits": "match logits",
}


def write_and_read(folder):
    """Writes the graphs; returns {"onnx " + quantity: array} of export_check by onnxruntime."""
    import onnxruntime

    model, prepare = read.modeling().load(folder)
    texts = prepare.texts(list(check.CAPTIONS))
    known = {
        "pixels": prepare.images(check.pictures()),
        "ids": texts.ids,
        "mask": texts.mask,
    }
    for name, (module, inputs, outputs) in GRAPHS.items():
        path = folder / f"{name}.onnx"
        _write(module(model).eval(), path, {key: known[key] for key in inputs}, outputs)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = _in_two(session, outputs, {key: known[key].numpy() for key in inputs})
        known |= {key: torch.from_numpy(value) for key, value in found.items()}
    return {f"onnx {quantity}": known[name] for name, quantity in QUANTITIES.items()}


def _in_two(session, outputs, inputs):
    """Returns {output: array} of two batches, neither as large as the one that was traced."""
    first, second = (
        session.run(outputs, {key: array[rows] for key, array in inputs.items()})
        for rows in (slice(0, 3), slice(3, None))
    )
    return {key: np.concatenate(both) for key, *both in zip(outputs, first, second)}


@contextlib.contextmanager
def _quiet():
    """The exporter tells of its own insides, on every channel there is."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _write(module, path, inputs, outputs):
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
