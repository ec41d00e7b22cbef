"""The held-out examples that the evaluators share."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from jaxvl.data.sources import Source


class Examples(NamedTuple):
    """What is evaluated.

    records: one dict an image, as `jaxvl.data.sources.annotations` gives them.
    images: () -> iterator of batches, as `jaxvl.evals.feeding.image_batches` yields them.
    tokenize: (texts) -> jaxvl.data.text.tokenizer.Tokens.
    words: (text) -> its words, as the numbers in `Tokens.words` count them.
    """

    records: list[dict[str, Any]]
    images: Callable[[], Iterator[dict[str, np.ndarray]]]
    tokenize: Callable[[Sequence[str]], Tokens]
    words: Callable[[str], list[str]] = str.split


def make_examples(
    config: ConfigDict, *, source: "Source | None", tokenizer: "Tokenizer"
) -> Examples:
    """Returns the Examples of a Source: its first eval.max_examples images, or all of them.

    source: None for no examples, only the tokenizer.
    """
    import jax

    from jaxvl.data import batches, sources

    if source is None:
        return Examples([], lambda: iter(()), make_tokenize(config, tokenizer))
    limit = config.eval.max_examples or source.num_examples
    source = source._replace(num_examples=min(limit, source.num_examples))

    def images():
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
    return Examples(
        records, images, make_tokenize(config, tokenizer), make_words(config, tokenizer)
    )


def with_negatives(
    records: list[dict[str, Any]], data: ConfigDict, *, source: "Source"
) -> list[dict[str, Any]]:
    """Returns the records with the negatives of the folder data.negatives, where they have none.

    A folder for another data set, or without this split, changes nothing; a line on stderr says so.
    """
    from jaxvl.data.negatives import open_negatives

    folder = data.negatives
    if folder in ("", "own") or any(len(record["negatives"]) for record in records):
        return records
    try:
        negatives = open_negatives(
            folder, fingerprint=source.fingerprint, kinds=data.negative_kinds
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


def make_tokenize(config: ConfigDict, tokenizer: "Tokenizer") -> Callable[[Sequence[str]], Tokens]:
    """Returns (texts) -> Tokens, with the lengths that config.data gives."""
    from jaxvl.data.text import tokenizer as tokenizers

    return lambda texts: tokenizers.encode_for(tokenizer, texts, config.data)


def make_words(config: ConfigDict, tokenizer: "Tokenizer") -> Callable[[str], list[str]]:
    """Returns (text) -> the words that a run reads of it, also those that are too many for it."""
    from jaxvl.data.text.tokenizer import read_as
    from jaxvl.data.text.words import words_of

    return lambda text: words_of(read_as(tokenizer, text), config.data.words)


def distinct(tokens: Tokens) -> tuple[Tokens, np.ndarray]:
    """Returns (Tokens without repetition, the row that each text became, int [T]).

    Texts that the model cannot distinguish then have one score, instead of several that differ by
    rounding with their place in a batch. Ordered by content, not by place in the data set.
    """
    rows = np.concatenate([tokens.ids, tokens.mask], axis=1)
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return Tokens(*(field[first] for field in tokens)), place.reshape(-1)
