"""What a run's tokenizer and limits make of the captions of a source."""

import numpy as np
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl.data.sources.source import Source, annotations
from jaxvl.data.text.report import report_on
from jaxvl.data.text.scripts import ENGLISH
from jaxvl.data.text.tokenizer import encode_for
from jaxvl.errors import UserError

_LOOKED_AT = 1_000  # examples
_NOTED = 0.01  # share of captions or tokens, from which it is said


def check_differ(source: Source, tokenizer: Tokenizer, data: ConfigDict) -> None:
    """Raises UserError where all captions of the first examples read alike. data: config.data.

    Then nothing can be told from anything, and every contrast is constant.
    """
    captions = _first_captions(source)
    if captions and len(np.unique(encode_for(tokenizer, captions, data).ids, axis=0)) == 1:
        raise UserError(
            f"{source.name}: the captions of all examples read alike (the first: {captions[0]!r}), "
            "so there is nothing to learn from them"
        )


def _first_captions(source: Source) -> list[str]:
    some = source._replace(num_examples=min(source.num_examples, _LOOKED_AT))
    return [caption for record in annotations(some) for caption in record["captions"]]


def notes(source: Source, tokenizer: Tokenizer, data: ConfigDict) -> list[str]:
    """Returns lines on the captions of the first examples that are cut, unread or read alike.

    None where all are read as they are. data: config.data.
    """
    captions = _first_captions(source)
    if not captions:
        return []
    found = report_on(tokenizer, captions, ENGLISH)
    kept = encode_for(tokenizer, captions, data).mask.sum(axis=1)
    cut = float((kept - 1 - int(data.add_sep) < found.tokens).mean())
    limits = f"data.max_tokens={data.max_tokens}, data.max_words={data.max_words}"
    lines = []
    if cut >= _NOTED:
        lines.append(f"{cut:.0%} of the captions are cut ({limits})")
    if found.unknown >= _NOTED:
        lines.append(f"{found.unknown:.0%} of the tokens are not in the vocabulary")
    if found.lost >= _NOTED * len(captions):
        lines.append(f"{found.lost:,} of {len(captions):,} captions are not told from others")
    return [f"texts of {source.name}: {line}" for line in lines]
