"""Whether there is any hard negative for training to learn from."""

from ml_collections import ConfigDict
from tokenizers import Tokenizer

from jaxvl.data.negatives.own import open_own
from jaxvl.data.negatives.storage import Negatives, open_negatives
from jaxvl.data.sources.source import Source, annotations
from jaxvl.data.text import tokenizer as tokenizers
from jaxvl.errors import UserError

_LOOKED_AT = 1_000  # examples


def open_for(source: Source, data: ConfigDict) -> Negatives | None:
    """Returns the Negatives that data.negatives names for a source, None where it is "".

    Raises UserError where there are none, or of other data, or of other kinds.
    """
    if not data.negatives:
        return None
    if data.negatives == "own":
        return open_own(source, kinds=data.negative_kinds)
    return open_negatives(data.negatives, fingerprint=source.fingerprint, kinds=data.negative_kinds)


def check_some(source: Source, tokenizer: Tokenizer, data: ConfigDict) -> None:
    """Raises UserError where no caption has a negative that the model can tell from it.

    It looks at the first examples of the source; where those have none, a loss of hard negatives
    would train nothing.
    """
    negatives = open_for(source, data)
    if negatives is None:
        return
    some = source._replace(num_examples=min(source.num_examples, _LOOKED_AT))
    captions, pairs = 0, []
    for example, record in enumerate(annotations(some)):
        count = len(record["captions"])
        captions += count
        found = negatives.read([example] * count, range(count))
        for caption, texts in zip(record["captions"], found):
            pairs += [(caption, text) for text in texts if text]
    if not pairs:
        raise UserError(
            f"data.negatives={data.negatives!r}: {source.name} has no negative of any kind in "
            f"{captions:,} captions, so nothing would be learnt from them; make others with "
            '`jaxvl negatives`, or train without (data.negatives="")'
        )
    one, other = (tokenizers.encode_for(tokenizer, texts, data).ids for texts in zip(*pairs))
    if not (one != other).any():
        raise UserError(
            f"data.negatives={data.negatives!r}: all {len(pairs):,} negatives are read as their "
            f"captions are; raise data.max_tokens={data.max_tokens} or "
            f"data.max_words={data.max_words}, or use a tokenizer that knows their words"
        )
