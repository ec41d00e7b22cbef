"""Whether a tokenizer is the one that weights have learned: ids must mean the same words."""

from pathlib import Path

from tokenizers import Tokenizer

from jaxvl import paths, workdir
from jaxvl.data.text import tokenizer as tokenizers
from jaxvl.errors import UserError
from jaxvl.interop.weights import Weights

PADDING = 128  # rows that a table of words has more than words, so that its size is a round number
WORDS, END = "model.text.vocabulary_size", "model.text.end_token"


def check(source: Weights, tokenizer: Tokenizer) -> None:
    """Raises UserError where the tokenizer is not that of published weights.

    They are compared by size, by the token that ends a text, and, where the weights bring their own
    tokenizer, word by word.
    """
    rows, size = source.settings.get(WORDS), tokenizer.get_vocab_size()
    if rows is None:  # an image encoder
        return
    if not rows - PADDING <= size <= rows:
        raise UserError(
            f"{source.path} has {rows} words, the tokenizer has {size}: every id would mean "
            "another word; name the tokenizer of these weights as data.tokenizer"
        )
    end = tokenizers.special_ids(tokenizer).sep
    wanted = source.settings.get(END, _largest(tokenizer))
    if source.settings.get("model.name") == "clip" and end != wanted:
        raise UserError(
            f"{source.path} ends a text with the id {wanted}, the tokenizer with {end}: texts "
            "would be read at another place; name the tokenizer of these weights as data.tokenizer"
        )
    if source.tokenizer:
        _check_words(source.path, tokenizers.load(source.tokenizer), tokenizer)


def check_own(path: Path | str, tokenizer: Tokenizer) -> None:
    """Raises UserError where the tokenizer is not that of a run of jaxvl."""
    own = paths.of(path) / workdir.TOKENIZER
    if own.is_file():  # not in runs of older versions
        _check_words(path, tokenizers.load(own), tokenizer)


def _largest(tokenizer):
    """Returns the largest id, which ends a text of CLIP where its configuration says nothing."""
    return max(tokenizer.get_vocab().values())


def _check_words(path, theirs: Tokenizer, given: Tokenizer) -> None:
    known, used = theirs.get_vocab(), given.get_vocab()
    for word, number in sorted(used.items(), key=lambda item: item[1]):
        if known.get(word) != number:
            was = f"is {known[word]}" if word in known else "has no id"
            raise UserError(
                f"{path} comes with another tokenizer: {word!r}, which is {number} here, {was} "
                "there; leave data.tokenizer out, so that theirs is used"
            )
