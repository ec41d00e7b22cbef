"""The held-out examples that the evaluators share."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxvl.errors import UserError


class Examples(NamedTuple):
    """What is evaluated.

    records: one dict a picture, as `jaxvl.data.sources.annotations` gives them.
    pictures: () -> iterator of batches, as `jaxvl.data.batches.eval_images`.
    tokenize: (list of str) -> jaxvl.data.text.tokenizer.Tokens.
    """

    records: list
    pictures: Callable
    tokenize: Callable


def make_examples(config, *, source, tokenizer):
    """Returns the Examples of a Source: its first eval.max_examples pictures, or all of them.

    source: None for no examples, only the tokenizer.
    """
    import jax

    from jaxvl.data import batches, sources

    if source is None:
        return Examples([], lambda: iter(()), make_tokenize(config, tokenizer))
    limit = config.eval.max_examples or source.num_examples
    source = source._replace(num_examples=min(limit, source.num_examples))

    def pictures():
        return batches.eval_images(
            source,
            config.data,
            batch_size=config.eval.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    records = sources.annotations(source)
    if config.evals.hard_negatives is not None:
        records = with_negatives(records, config.data, source=source)
    return Examples(records, pictures, make_tokenize(config, tokenizer))


def with_negatives(records, data_config, *, source):
    """Returns the records with the negatives of the folder data.negatives, where they have none.

    A folder for another data set, or without this split, changes nothing, and a line says so.
    """
    from jaxvl.data.negatives import open_negatives

    folder = data_config.negatives
    if folder in ("", "own") or any(len(record["negatives"]) for record in records):
        return records
    try:
        negatives = open_negatives(
            folder, fingerprint=source.fingerprint, kinds=data_config.negative_kinds
        )
    except UserError as error:
        print(f"evals.hard_negatives: {error}", file=sys.stderr)
        return records
    return [
        {**record, **_made(negatives, example, len(record["captions"]))}
        for example, record in enumerate(records)
    ]


def _made(negatives, example, captions):
    """Returns the annotations of one record's negatives, as a data set that brings them has."""
    texts_CxK = negatives.read([example] * captions, range(captions))
    found = [
        (text, kind, caption)
        for caption, texts_K in enumerate(texts_CxK)
        for kind, text in zip(negatives.kinds, texts_K)
        if text
    ]
    texts, kinds, of = zip(*found) if found else ((), (), ())
    return {"negatives": texts, "negative_kinds": kinds, "negative_captions": np.array(of, int)}


def make_tokenize(config, tokenizer):
    """Returns (list of str) -> Tokens, as config.data says."""
    from jaxvl.data.text import tokenizer as tokenizers

    def tokenize(captions):
        return tokenizers.encode(
            tokenizer,
            captions,
            max_tokens=config.data.max_tokens,
            max_words=config.data.max_words,
            add_sep=config.data.add_sep,
        )

    return tokenize


def distinct(tokens):
    """Returns (Tokens without repetition, where each row went).

    Texts that the model cannot tell apart then have one score, not several that differ in the
    last bit with their place in a batch. Ordered by content, not by place in the data set.
    """
    rows = np.concatenate([tokens.ids, tokens.mask], axis=1)
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return type(tokens)(*(field[first] for field in tokens)), place.reshape(-1)
