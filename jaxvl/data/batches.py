"""From raw records to NumPy batches: batch t is a pure function of (seed, t).

A host thread reads raw bytes in bulk and hands them to one Python-free TF function, traced once a
source, that parses, crops and distorts; the captions are tokenised on the host. Nothing random is
stored: every draw is keyed by (seed, epoch, example).

g rows of this process, G rows of the global batch, L tokens, K negatives, H = W = image_size.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxvl.data.host_tf import tf
from jaxvl.data.images import augment
from jaxvl.data.negatives import open_negatives
from jaxvl.data.negatives.own import open_own
from jaxvl.data.order import make_order
from jaxvl.data.prefetch import Prefetch
from jaxvl.data.records import mapper
from jaxvl.data.text import tokenizer as tokenizers
from jaxvl.errors import UserError

__all__ = ["Batches", "eval_images", "make_batches"]

# These set the keys of other draws apart from those of every epoch's first view.
CAPTION_STREAM, SECOND_STREAM = 1 << 62, 1 << 61


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
    image_id and example_id int32 [g], numbered through all sources. With data.negatives also K
    false captions of each row's own: negative_ids int32, negative_mask bool [g, K, L];
    negative_valid bool [g, K], where False there is none and the row is padding. With
    data.second_view another crop and caption of each row's picture: second_image as image,
    second_ids int32, second_mask bool [g, L]; second_valid bool [g], False where the caption reads
    like the first.
    Raises UserError if the processes do not divide the batch, for a record that cannot be read, or
    for negatives of another data set or of other kinds.
    """
    rows = _local_rows(batch_size, process_index, process_count)
    sources = [source for source, _ in sources_and_weights]
    sizes_S = np.array([source.num_examples for source in sources])
    order = make_order(sizes_S, [weight for _, weight in sources_and_weights], seed=seed)
    first_id_S = np.cumsum(sizes_S) - sizes_S
    examples = [_training_examples(source, data_cfg, seed=seed) for source in sources]

    def examples_of(place, example_id_g):
        if len(sources) == 1:
            return examples[0](place.index, place.epoch, example_id_g)
        joined = {}
        for number in np.unique(place.source):
            at = place.source == number
            found = examples[number](place.index[at], place.epoch[at], example_id_g[at])
            for name, value in found.items():
                shape = (len(rows), *value.shape[1:])
                joined.setdefault(name, np.empty(shape, value.dtype))[at] = value
        return joined

    def batch(step):
        place = order(step * batch_size + rows)
        example_id_g = (first_id_S[place.source] + place.index).astype(np.int32)
        found = examples_of(place, example_id_g.astype(np.int64))
        captions = [caption.decode("utf-8", "replace") for caption in found["caption"]]
        tokens = _tokenize(tokenizer, captions, data_cfg)
        more = {}
        if data_cfg.negatives:
            more |= _negative_tokens(tokenizer, found["negatives"], tokens, data_cfg)
        if data_cfg.second_view:
            more |= _second(tokenizer, found, tokens, data_cfg)
        return {
            "image": found["image"],
            "token_ids": tokens.ids,
            "token_mask": tokens.mask,
            "word_ids": tokens.words,
            "image_id": example_id_g,  # one example = one image
            "example_id": example_id_g,
            **more,
        }

    num_examples = int(sizes_S.sum())
    return Batches(num_examples, -(-num_examples // batch_size), batch)


def _tokenize(tokenizer, captions, data_cfg):
    return tokenizers.encode(
        tokenizer,
        captions,
        max_tokens=data_cfg.max_tokens,
        max_words=data_cfg.max_words,
        add_sep=data_cfg.add_sep,
    )


def _negative_tokens(tokenizer, negatives_gxK, captions, data_cfg):
    """Return the batch's entries of negatives, of texts "" where there is none.

    captions: Tokens of the rows' own. What reads like them once it is cut to length is no negative.
    """
    valid_gxK = negatives_gxK != ""
    tokens = _tokenize(tokenizer, negatives_gxK[valid_gxK].tolist(), data_cfg)
    differs_n = (tokens.ids != captions.ids[np.nonzero(valid_gxK)[0]]).any(-1)
    valid_gxK[valid_gxK] = differs_n
    shape = (*valid_gxK.shape, data_cfg.max_tokens)
    ids_gxKxL = np.full(shape, max(tokenizers.special_ids(tokenizer).pad, 0), np.int32)
    mask_gxKxL = np.zeros(shape, bool)
    ids_gxKxL[valid_gxK], mask_gxKxL[valid_gxK] = tokens.ids[differs_n], tokens.mask[differs_n]
    return {
        "negative_ids": ids_gxKxL,
        "negative_mask": mask_gxKxL,
        "negative_valid": valid_gxK,
    }


def _second(tokenizer, found, captions, data_cfg):
    """Return the batch's entries of the second view. captions: Tokens of the first captions."""
    texts = [caption.decode("utf-8", "replace") for caption in found["second_caption"]]
    tokens = _tokenize(tokenizer, texts, data_cfg)
    return {
        "second_image": found["second_image"],
        "second_ids": tokens.ids,
        "second_mask": tokens.mask,
        "second_valid": (tokens.ids != captions.ids).any(-1),
    }


def eval_images(source, data_cfg, *, batch_size, process_index, process_count):
    """Yield dict(image uint8 [g, H, W, 3], index int32 [g], mask bool [g]) over the whole source.

    Whole pictures, or the square in their middle (data.eval_crop), resized; every index once over
    all processes, the last batch padded where mask is False; every process yields as many batches.
    Raises UserError if the processes do not divide the batch, or for a record that cannot be read.
    """
    rows = _local_rows(batch_size, process_index, process_count)
    size = data_cfg.image_size

    def picture(record):
        return {"image": augment.whole(record["image"], size, crop=data_cfg.eval_crop)}

    pictures = mapper(source, picture)

    def batch(step):
        index_g = (step * batch_size + rows).astype(np.int32)
        mask_g = index_g < source.num_examples
        image_g = np.zeros((len(rows), size, size, 3), np.uint8)
        if mask_g.any():
            image_g[mask_g] = pictures(index_g[mask_g])["image"]
        return {"image": image_g, "index": np.where(mask_g, index_g, 0), "mask": mask_g}

    steps = range(-(-source.num_examples // batch_size))
    with Prefetch(
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
    """Return `(indices, epochs, example ids) -> dict` of one source.

    image uint8, caption bytes, its turn among the picture's; with data.negatives str [n, K] of that
    caption; with data.second_view second_image and second_caption.
    """
    negatives = _open_negatives(source, data_cfg)
    count = augment.num_draws(data_cfg)

    def one(record, epoch, example_id):
        # Philox keys of two int64: (seed, epoch and example)
        key_of_run = tf.constant(seed, tf.int64)
        view = epoch * 2**32 + example_id

        def picture(stream):
            u = tf.random.stateless_uniform([count], tf.stack([key_of_run, stream + view]))
            return augment.augment(record["image"], u, data_cfg)

        caption_key = tf.stack([key_of_run, CAPTION_STREAM + example_id])
        rotation = tf.random.stateless_uniform(
            [], caption_key, minval=0, maxval=2**31, dtype=tf.int64
        )
        captions = record["captions"]
        captions_there = tf.size(captions, tf.int64)
        turn = tf.math.floormod(rotation + epoch, captions_there)
        found = {"image": picture(0), "caption": captions[turn], "turn": turn}
        if data_cfg.second_view:
            found["second_image"] = picture(SECOND_STREAM)
            found["second_caption"] = captions[tf.math.floormod(turn + 1, captions_there)]
        return found

    examples = mapper(source, one, num_keys=2)

    def rows(index_g, epoch_g, example_id_g):
        found = examples(index_g, epoch_g, example_id_g)
        if negatives:
            found["negatives"] = np.array(negatives.read(index_g, found["turn"]), object)
        return found

    return rows


def _open_negatives(source, data_cfg):
    if not data_cfg.negatives:
        return None
    if data_cfg.negatives == "own":
        return open_own(source, kinds=data_cfg.negative_kinds)
    return open_negatives(
        data_cfg.negatives, fingerprint=source.fingerprint, kinds=data_cfg.negative_kinds
    )
