"""The schema of a record, as a data set stores it, and of a batch, as a training step reads it.

Letters: G examples in a batch, H W the image's height and width, L tokens of a caption, K hard
negatives of a caption.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.errors import UserError

if TYPE_CHECKING:  # `jaxvl prepare` uses this module and does without JAX
    import jax

CLS, FIRST_WORD = 2, 5  # token ids of the tokenizers that `jaxvl prepare` trains


class Field(NamedTuple):
    """A field of a record.

    dtype: bytes, str or a NumPy type. shape: of its value, None for any number. meaning: one line.
    """

    dtype: Any
    shape: tuple[int | None, ...]
    meaning: str


RECORD = {
    "image": Field(bytes, (), "JPEG, RGB, upright"),
    "file_name": Field(str, (), "unique within the data set"),
    "captions": Field(str, (None,), "as written; at least one, none of them empty"),
    "boxes": Field(np.float32, (None, 4), "ymin, xmin, ymax, xmax of each object, in [0, 1]"),
    "mentions": Field(np.int64, (None, 3), "caption, word, object: which word means which object"),
    "negatives": Field(str, (None,), "captions that are false of the image"),
    "negative_kinds": Field(str, (None,), "what was changed in each negative"),
    "negative_captions": Field(np.int64, (None,), "the caption that each negative contradicts"),
}
REQUIRED = ("image", "file_name", "captions")  # the others may be left out: they are stored empty


def complete_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with every field of RECORD: lists of str, arrays of the field's type.

    Raises UserError naming the record where a required field or a caption is missing, a field is
    unknown, or an array has another shape.
    """
    name = f"record {record.get('file_name', '(without file_name)')}"
    missing = [field for field in REQUIRED if field not in record]
    unknown = [field for field in record if field not in RECORD]
    if missing or unknown:
        raise UserError(f"{name}: missing fields {missing}, unknown fields {unknown}")
    complete = {
        field: _value(record.get(field, ()), RECORD[field], f"{name}: {field}") for field in RECORD
    }
    if not complete["captions"] or not all(text.strip() for text in complete["captions"]):
        raise UserError(f"{name}: a caption is missing or empty")
    return complete


def _value(value: Any, field: Field, name: str) -> Any:
    if not field.shape:
        return value
    if field.dtype is str:
        return list(value)
    array, rest = np.asarray(value, field.dtype), field.shape[1:]
    if not array.size:
        return array.reshape(0, *rest)
    if array.ndim != len(field.shape) or array.shape[1:] != rest:
        raise UserError(f"{name} has shape {array.shape}, not {('n', *rest)}")
    return array


def batch_spec(config: ConfigDict, *, rows: int | None = None) -> "dict[str, jax.ShapeDtypeStruct]":
    """Returns the shape and dtype of each array of a training batch.

    config: all keys. rows: G, by default config.batch_size; a process's slice of a batch has fewer.

    image: [G, H, W, 3] in 0..255. token_ids, token_mask (True at tokens), word_ids (the word of the
    caption that a token belongs to, -1 for none): [G, L]. example_id: [G], numbered through all
    sources. image_id, caption_id: [G], at least 0; equal for equal images, and for captions with
    equal tokens. With data.negatives negative_ids, negative_mask: [G, K, L], negative_caption_id as
    caption_id: [G, K], and negative_valid: [G, K], False where there is none. With data.second_view
    another crop and another caption of each image: second_image, second_ids, second_mask as above,
    and second_valid: [G], False where that caption reads like the first.
    """
    import jax

    data = config.data
    g, length = config.batch_size if rows is None else rows, data.max_tokens
    image = (g, data.image_size, data.image_size, 3)
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "image": (image, np.uint8),
        "token_ids": ((g, length), np.int32),
        "token_mask": ((g, length), np.bool_),
        "word_ids": ((g, length), np.int32),
        "image_id": ((g,), np.int32),
        "caption_id": ((g,), np.int32),
        "example_id": ((g,), np.int32),
    }
    if data.negatives:
        kinds = len(data.negative_kinds)
        shapes |= {
            "negative_ids": ((g, kinds, length), np.int32),
            "negative_mask": ((g, kinds, length), np.bool_),
            "negative_caption_id": ((g, kinds), np.int32),
            "negative_valid": ((g, kinds), np.bool_),
        }
    if data.second_view:
        shapes |= {
            "second_image": (image, np.uint8),
            "second_ids": ((g, length), np.int32),
            "second_mask": ((g, length), np.bool_),
            "second_valid": ((g,), np.bool_),
        }
    return {name: jax.ShapeDtypeStruct(*each) for name, each in shapes.items()}


def check_batch(batch: Mapping[str, Any], config: ConfigDict, *, rows: int | None = None) -> None:
    """Asserts that a batch has the names, shapes and dtypes of `batch_spec`.

    Raises AssertionError naming what differs. Works on traced arrays, so a jitted step checks its
    batch once, when it is compiled.
    """
    import chex

    spec = batch_spec(config, rows=rows)
    missing, unknown = sorted(spec.keys() - batch.keys()), sorted(batch.keys() - spec.keys())
    assert not missing and not unknown, f"batch: missing {missing}, unknown {unknown}"
    chex.assert_trees_all_equal_shapes_and_dtypes(dict(batch), spec)


def empty_batch(config: ConfigDict, *, rows: int | None = None) -> dict[str, np.ndarray]:
    """Returns a batch of zeros: black images, captions of padding, no negatives."""
    spec = batch_spec(config, rows=rows)
    return {name: np.zeros(each.shape, each.dtype) for name, each in spec.items()}


def random_batch(
    config: ConfigDict, *, seed: int = 0, rows: int | None = None
) -> dict[str, np.ndarray]:
    """Returns a batch of noise, for tests and benchmarks: images and captions of their own.

    Captions have 3 to L tokens: a first one, then one for each word; with data.add_sep the last one
    is model.text.end_token. Every third negative is missing. config: with the vocabulary's size.
    """
    rng = np.random.default_rng(seed)
    batch = empty_batch(config, rows=rows)
    g, length = batch["token_ids"].shape
    ids, mask = _random_texts(rng, (g, length), config)
    words = np.where(mask, np.arange(length)[None] - 1, -1).astype(np.int32)
    number = np.arange(g, dtype=np.int32)
    batch |= {"image": _noise(rng, batch["image"].shape), "token_ids": ids, "token_mask": mask}
    batch |= {"word_ids": words, "image_id": number, "caption_id": number, "example_id": number}
    if config.data.negatives:
        shape = batch["negative_ids"].shape
        valid = np.arange(g * shape[1]).reshape(g, -1) % 3 > 0
        ids, mask = _random_texts(rng, shape, config)
        batch["negative_ids"] = np.where(valid[..., None], ids, 0)
        batch |= {"negative_mask": mask & valid[..., None], "negative_valid": valid}
        batch["negative_caption_id"] = np.arange(g, g + valid.size, dtype=np.int32).reshape(g, -1)
    if config.data.second_view:
        ids, mask = _random_texts(rng, (g, length), config)
        batch |= {"second_image": _noise(rng, batch["image"].shape), "second_ids": ids}
        batch |= {"second_mask": mask, "second_valid": np.ones(g, bool)}
    return batch


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def _random_texts(
    rng: np.random.Generator, shape: tuple[int, ...], config: ConfigDict
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (ids int32, mask bool) of random captions, [..., L] both."""
    length, text = shape[-1], config.model.text
    count = rng.integers(min(3, length), length + 1, (*shape[:-1], 1))
    place = np.broadcast_to(np.arange(length), shape)
    mask = place < count
    ids = np.where(mask, rng.integers(FIRST_WORD, text.vocabulary_size, shape), 0)
    ids[..., 0] = CLS
    if config.data.add_sep:
        ids = np.where(place == count - 1, text.end_token, ids)
    return ids.astype(np.int32), mask
