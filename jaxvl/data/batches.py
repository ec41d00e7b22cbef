"""From raw records to NumPy batches: batch t is a pure function of (seed, t).

A host thread reads raw bytes in bulk and hands them to one Python-free TF function, traced once a
source, that parses, crops and distorts; the captions are tokenised on the host. Nothing random is
stored: every draw is keyed by (seed, epoch, example).

g rows of this process, G rows of the global batch, L tokens, H = W = image_size.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxvl.data import image_ops
from jaxvl.data import tokenizer as tokenizers
from jaxvl.data.host_tf import tf
from jaxvl.data.order import make_order
from jaxvl.data.prefetch import prefetch
from jaxvl.errors import UserError

__all__ = ["Batches", "eval_images", "make_batches", "prefetch"]

CAPTION_STREAM = 1 << 62  # sets the key of the caption's draw apart from every epoch's keys


class Batches(NamedTuple):
    """What the training loop needs to know of its data."""

    num_examples: int
    steps_per_epoch: int  # after so many steps every example has been seen (weights aside)
    batch: Callable[[int], dict]


def make_batches(
    sources_and_weights,
    tokenizer,
    data_cfg,
    *,
    seed,
    batch_size,
    process_index,
    process_count,
):
    """Return Batches whose `batch(t)` is this process's slice of the global batch t.

    sources_and_weights: [(Source, weight)], one or several. batch_size: G, over all processes.
    A batch: image uint8 [g, H, W, 3]; token_ids int32, token_mask bool, word_ids int32 [g, L];
    image_id and example_id int32 [g], numbered through all sources.
    Raises UserError if the processes do not divide the batch, or for a record that cannot be read.
    """
    rows = _local_rows(batch_size, process_index, process_count)
    sources = [source for source, _ in sources_and_weights]
    sizes_S = np.array([source.num_examples for source in sources])
    order = make_order(sizes_S, [weight for _, weight in sources_and_weights], seed=seed)
    first_id_S = np.cumsum(sizes_S) - sizes_S
    examples = [_training_examples(source, data_cfg, seed=seed) for source in sources]

    def rows_of(place, example_id_g):
        if len(sources) == 1:
            return examples[0](place.index, place.epoch, example_id_g)
        image_g = np.empty((len(rows), data_cfg.image_size, data_cfg.image_size, 3), np.uint8)
        caption_g = np.empty(len(rows), object)
        for number in np.unique(place.source):
            at = place.source == number
            image_g[at], caption_g[at] = examples[number](
                place.index[at], place.epoch[at], example_id_g[at]
            )
        return image_g, caption_g

    def batch(step):
        place = order(step * batch_size + rows)
        example_id_g = (first_id_S[place.source] + place.index).astype(np.int32)
        image_g, caption_g = rows_of(place, example_id_g.astype(np.int64))
        tokens = tokenizers.encode(
            tokenizer,
            [caption.decode("utf-8", "replace") for caption in caption_g],
            max_tokens=data_cfg.max_tokens,
            max_words=data_cfg.max_words,
            add_sep=data_cfg.add_sep,
        )
        return {
            "image": image_g,
            "token_ids": tokens.ids,
            "token_mask": tokens.mask,
            "word_ids": tokens.words,
            "image_id": example_id_g,  # one example = one image
            "example_id": example_id_g,
        }

    num_examples = int(sizes_S.sum())
    return Batches(num_examples, -(-num_examples // batch_size), batch)


def eval_images(source, data_cfg, *, batch_size, process_index, process_count):
    """Yield dict(image uint8 [g, H, W, 3], index int32 [g], mask bool [g]) over the whole source.

    Whole pictures, resized; every index once over all processes, the last batch padded where
    mask is False; every process yields the same number of batches.
    Raises UserError if the processes do not divide the batch, or for a record that cannot be read.
    """
    rows = _local_rows(batch_size, process_index, process_count)
    size = data_cfg.image_size
    pictures = _mapper(source, lambda record: {"image": image_ops.whole(record["image"], size)})

    def batch(step):
        index_g = (step * batch_size + rows).astype(np.int32)
        mask_g = index_g < source.num_examples
        image_g = np.zeros((len(rows), size, size, 3), np.uint8)
        if mask_g.any():
            image_g[mask_g] = pictures(index_g[mask_g])["image"]
        return {"image": image_g, "index": np.where(mask_g, index_g, 0), "mask": mask_g}

    steps = range(-(-source.num_examples // batch_size))
    with prefetch(
        batch, steps, depth=data_cfg.prefetch_batches, threads=data_cfg.loader_threads
    ) as ready:
        for _, images in ready:
            yield images


def _local_rows(batch_size, process_index, process_count):
    """Return the rows of the global batch that are this process's."""
    if batch_size % process_count:
        raise UserError(
            f"batch_size: {batch_size} is not divisible by the {process_count} processes"
        )
    local = batch_size // process_count
    return np.arange(process_index * local, (process_index + 1) * local)


def _training_examples(source, data_cfg, *, seed):
    """Return `(indices, epochs, example ids) -> (uint8 images, bytes captions)` of one source."""
    count = image_ops.num_draws(data_cfg)

    def one(record, epoch, example_id):
        # Philox keys of two int64: (seed, epoch and example)
        key = tf.stack([tf.constant(seed, tf.int64), epoch * 2**32 + example_id])
        u = tf.random.stateless_uniform([count], key)
        caption_key = tf.stack([tf.constant(seed, tf.int64), CAPTION_STREAM + example_id])
        rotation = tf.random.stateless_uniform(
            [], caption_key, minval=0, maxval=2**31, dtype=tf.int64
        )
        captions = record["captions"]
        turn = tf.math.floormod(rotation + epoch, tf.size(captions, tf.int64))
        return {
            "image": image_ops.augment(record["image"], u, data_cfg),
            "caption": captions[turn],
        }

    examples = _mapper(source, one, num_keys=2)

    def images_and_captions(index_g, epoch_g, example_id_g):
        out = examples(index_g, epoch_g, example_id_g)
        return out["image"], out["caption"]

    return images_and_captions


def _mapper(source, function, *, num_keys=0):
    """Return `(indices, *keys int64) -> dict of arrays`, `function(record, *keys)` for each index.

    A record that cannot be read or decoded raises UserError naming it.
    """

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)]
        + [tf.TensorSpec([None], tf.int64)] * num_keys
    )
    def graph(raw, *keys):
        def one(raw, *keys):
            return function(source.parse(raw), *keys)

        rows = tf.data.Dataset.from_tensor_slices((raw, *keys))
        rows = rows.map(one, num_parallel_calls=os.cpu_count(), deterministic=True)
        return rows.batch(tf.size(raw, tf.int64)).get_single_element()

    def rows(index, *keys):
        raw = tf.constant(source.read(index), tf.string)
        return {name: value.numpy() for name, value in graph(raw, *keys).items()}

    def rows_or_the_bad_one(index, *keys):
        try:
            return rows(index, *keys)
        except UserError:
            raise
        except Exception as error:
            for at in range(len(index)):
                try:
                    rows(index[at : at + 1], *(key[at : at + 1] for key in keys))
                except Exception as cause:
                    raise UserError(_what_is_wrong(source, index[at], cause)) from cause
            raise error

    return rows_or_the_bad_one


def _what_is_wrong(source, index, cause):
    """Return the line that names a record that cannot be used."""
    try:
        fields = source.parse(tf.constant(source.read(np.array([index]))[0]))
        file_name = fields["file_name"].numpy().decode("utf-8", "replace")
    except Exception:
        return f"{source.name}: record {index} cannot be read; copy or prepare the data set again"
    if len(fields["captions"]):
        # TF says where in the graph, in many lines; then what, on the line before "[[{{node".
        reason = str(cause).split("\n\t [[")[0].splitlines()[-1].split("MapV2: ")[-1]
    else:
        reason = "it has no caption"
    return (
        f"{source.name}: record {index} ({file_name}) cannot be used: {reason}; "
        "prepare the data set without it"
    )
