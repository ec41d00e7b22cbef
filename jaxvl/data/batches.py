"""Batches of NumPy arrays from stored records: batch t is a pure function of (seed, t).

A host thread reads serialized records in bulk and passes them to one TF function without Python,
traced once a source, which parses, crops and distorts. The captions are tokenised on the host.
Nothing random is stored: every draw has the key (seed, epoch, example).

Letters: g rows of this process, G rows of the global batch, L tokens, K negatives, S sources,
H = W = image_size.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl.data import records
from jaxvl.data.host_tf import tf
from jaxvl.data.images import augment
from jaxvl.data.images.whole import whole
from jaxvl.data.negatives.valid import open_for
from jaxvl.data.order import Place, make_order
from jaxvl.data.padded import padded_batches
from jaxvl.data.sources.source import Source
from jaxvl.data.text import tokenizer as tokenizers
from jaxvl.data.text.tokenizer import Tokens

# Added to an example's key, they make the draws of its captions and of its second view other ones.
CAPTION_STREAM, SECOND_STREAM = 1 << 62, 1 << 61
IDS = 2**31 - 1  # number of ids; so few images have one id by chance that no loss feels it

Arrays = dict[str, np.ndarray]


class Batches(NamedTuple):
    """The training data as the loop sees it.

    num_examples: of all sources. steps_per_epoch: after this many steps every example was seen, if
    the sources have weights in proportion to their sizes. batch: step -> this process's slice of
    the global batch, as `schema.batch_spec` describes it.
    """

    num_examples: int
    steps_per_epoch: int
    batch: Callable[[int], Arrays]


def make_batches(
    sources_and_weights: Sequence[tuple[Source, float]],
    tokenizer: Tokenizer,
    data: ConfigDict,
    *,
    seed: int,
    batch_size: int,
    rows: np.ndarray,
) -> Batches:
    """Returns the Batches of one or several sources.

    tokenizer: of the captions. data: config.data. batch_size: G, over all processes. rows: int [g],
    the rows of the global batch that this process loads.
    Raises UserError for a record that cannot be read, or for negatives of another data set or of
    other kinds.
    """
    sources = [source for source, _ in sources_and_weights]
    sizes_S = np.array([source.num_examples for source in sources])
    order = make_order(sizes_S, [weight for _, weight in sources_and_weights], seed=seed)
    first_id_S = np.cumsum(sizes_S) - sizes_S
    readers = [_training_reader(source, data, seed=seed) for source in sources]

    def batch(step: int) -> Arrays:
        place = order(step * batch_size + rows)
        example_id_g = (first_id_S[place.source] + place.index).astype(np.int32)
        found = _read_places(readers, place, example_id_g.astype(np.int64))
        tokens = tokenizers.encode_for(tokenizer, _decoded(found["caption"]), data)
        made = {
            "image": found["image"],
            "token_ids": tokens.ids,
            "token_mask": tokens.mask,
            "word_ids": tokens.words,
            "image_id": found["image_id"],
            "caption_id": caption_ids(tokens.ids),
            "example_id": example_id_g,
        }
        if data.negatives:
            made |= _negative_entries(tokenizer, found["negatives"], tokens, data)
        if data.second_view:
            made |= _second_entries(tokenizer, found, tokens, data)
        return made

    num_examples = int(sizes_S.sum())
    return Batches(num_examples, -(-num_examples // batch_size), batch)


def eval_images(
    source: Source, data: ConfigDict, *, batch_size: int, process_index: int, process_count: int
) -> Iterator[Arrays]:
    """Returns the `padded_batches` of the whole source.

    The images are whole, or the square in their middle (data.eval_crop), resized.
    Raises UserError if the processes do not divide the batch, or for a record that cannot be read.
    """
    encoded = records.mapper(source, lambda record: {"image": record["image"]})

    def pixels(index: int, image: bytes) -> np.ndarray:
        try:
            return whole(image, data.image_size, crop=data.eval_crop)
        except Exception as cause:
            raise records.unusable(source, index, cause) from cause

    return padded_batches(
        pixels,
        source.num_examples,
        data,
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
        fetch=lambda index_n: encoded(index_n)["image"],
    )


def _read_places(
    readers: Sequence[Callable[..., Arrays]], place: Place, example_id_g: np.ndarray
) -> Arrays:
    """Returns what the sources' readers find at places, row by row."""
    if len(readers) == 1:
        return readers[0](place.index, place.epoch, example_id_g)
    joined: Arrays = {}
    for number in np.unique(place.source):
        at = place.source == number
        found = readers[number](place.index[at], place.epoch[at], example_id_g[at])
        for name, value in found.items():
            shape = (len(at), *value.shape[1:])
            joined.setdefault(name, np.empty(shape, value.dtype))[at] = value
    return joined


def _training_reader(source: Source, data: ConfigDict, *, seed: int) -> Callable[..., Arrays]:
    """Returns `(indices, epochs, example ids) -> dict` of one source, n rows.

    image: uint8. image_id: int32, equal for equal files. caption: bytes. turn: which of the image's
    captions it is. With data.negatives: negatives, str [n, K], of that caption; with
    data.second_view: second_image, second_caption.
    """
    negatives = open_for(source, data)
    count = augment.num_draws(data)

    def one(record: dict[str, Any], epoch: tf.Tensor, example_id: tf.Tensor) -> dict[str, Any]:
        # Philox keys of two int64: the seed, and the epoch with the example
        key_of_run = tf.constant(seed, tf.int64)
        view = epoch * 2**32 + example_id

        def crop(stream: int) -> tf.Tensor:
            u = tf.random.stateless_uniform([count], tf.stack([key_of_run, stream + view]))
            return augment.augment(record["image"], u, data)

        caption_key = tf.stack([key_of_run, CAPTION_STREAM + example_id])
        rotation = tf.random.stateless_uniform(
            [], caption_key, minval=0, maxval=2**31, dtype=tf.int64
        )
        captions = record["captions"]
        captions_there = tf.size(captions, tf.int64)
        turn = tf.math.floormod(rotation + epoch, captions_there)
        image_id = tf.strings.to_hash_bucket_fast(record["image"], IDS)
        found = {"image": crop(0), "image_id": tf.cast(image_id, tf.int32)}
        found |= {"caption": captions[turn], "turn": turn}
        if data.second_view:
            found["second_image"] = crop(SECOND_STREAM)
            found["second_caption"] = captions[tf.math.floormod(turn + 1, captions_there)]
        return found

    examples = records.mapper(source, one, num_keys=2)

    def rows(index: np.ndarray, epoch: np.ndarray, example_id: np.ndarray) -> Arrays:
        found = examples(index, epoch, example_id)
        if negatives:
            texts = negatives.read(index.tolist(), found["turn"].tolist())
            found["negatives"] = np.array(texts, object)
        return found

    return rows


def _decoded(captions: np.ndarray) -> list[str]:
    return [caption.decode("utf-8", "replace") for caption in captions]


def caption_ids(ids: np.ndarray) -> np.ndarray:
    """Returns int32 [...] from 0 on, equal for equal captions. ids: [..., L], of their tokens."""
    rows = np.ascontiguousarray(ids, np.int32).reshape(-1, ids.shape[-1])
    found = np.array([zlib.crc32(row.tobytes()) % IDS for row in rows], np.int32)
    return found.reshape(ids.shape[:-1])


def _negative_entries(
    tokenizer: Tokenizer, negatives_gxK: np.ndarray, captions: Tokens, data: ConfigDict
) -> Arrays:
    """Returns the batch's entries of negatives.

    negatives_gxK: texts, "" where there is none. captions: the rows' own. A negative that reads
    like its caption once both are truncated is left out.
    """
    valid_gxK = negatives_gxK != ""
    tokens = tokenizers.encode_for(tokenizer, negatives_gxK[valid_gxK].tolist(), data)
    differs_n = (tokens.ids != captions.ids[np.nonzero(valid_gxK)[0]]).any(-1)
    valid_gxK[valid_gxK] = differs_n
    shape = (*valid_gxK.shape, data.max_tokens)
    ids_gxKxL = np.full(shape, max(tokenizers.special_ids(tokenizer).pad, 0), np.int32)
    mask_gxKxL = np.zeros(shape, bool)
    ids_gxKxL[valid_gxK], mask_gxKxL[valid_gxK] = tokens.ids[differs_n], tokens.mask[differs_n]
    return {
        "negative_ids": ids_gxKxL,
        "negative_mask": mask_gxKxL,
        "negative_caption_id": caption_ids(ids_gxKxL),
        "negative_valid": valid_gxK,
    }


def _second_entries(
    tokenizer: Tokenizer, found: Arrays, captions: Tokens, data: ConfigDict
) -> Arrays:
    """Returns the batch's entries of the second view. captions: of the first."""
    tokens = tokenizers.encode_for(tokenizer, _decoded(found["second_caption"]), data)
    return {
        "second_image": found["second_image"],
        "second_ids": tokens.ids,
        "second_mask": tokens.mask,
        "second_valid": (tokens.ids != captions.ids).any(-1),
    }
