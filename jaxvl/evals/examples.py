"""The held-out examples that the evaluators share."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Examples(NamedTuple):
    """What is evaluated.

    records: one dict a picture, as `jaxvl.data.sources.annotations` gives them.
    pictures: () -> iterator of batches, as `jaxvl.data.batches.eval_images`.
    tokenize: (list of str) -> jaxvl.data.tokenizer.Tokens.
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

    return Examples(sources.annotations(source), pictures, make_tokenize(config, tokenizer))


def make_tokenize(config, tokenizer):
    """Returns (list of str) -> Tokens, as config.data says."""
    from jaxvl.data import tokenizer as tokenizers

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
