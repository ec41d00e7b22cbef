"""What a tokenizer makes of captions: what it cannot read, cannot tell apart, or finds too long."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from jaxvl.data.text.scripts import Reading, compared, scripts_in
from jaxvl.data.text.tokenizer import read_as
from jaxvl.errors import UserError

_TOGETHER = 10_000  # captions that are encoded at once


class TextReport(NamedTuple):
    """What a tokenizer makes of captions.

    captions: their number. scripts: as `scripts_in`. reading: how they are read. vocabulary: number
    of ids. unknown: share of tokens that are [UNK]. lost: captions with words of which none is
    read, and those that read like another one with other words. example: two captions that read
    alike, or one that is not read, or (). tokens: number in each caption, without special ones.
    """

    captions: int
    scripts: dict[str, float]
    reading: Reading
    vocabulary: int
    unknown: float
    lost: int
    example: tuple[str, ...]
    tokens: np.ndarray


def report_on(tokenizer: Tokenizer, captions: Sequence[str], reading: Reading) -> TextReport:
    """Returns the TextReport of captions."""
    unknown_id = tokenizer.token_to_id("[UNK]")
    said: dict[tuple[int, ...], Counter] = defaultdict(Counter)  # ids -> captions, as compared
    written, counts, unknown = {}, [], 0
    for start in range(0, len(captions), _TOGETHER):
        some = captions[start : start + _TOGETHER]
        read = [read_as(tokenizer, caption) for caption in some]
        for caption, encoding in zip(some, tokenizer.encode_batch_fast(read, False)):
            ids, words = tuple(encoding.ids), compared(caption)
            said[ids][words] += 1
            written.setdefault(words, caption)
            counts.append(len(ids))
            unknown += ids.count(unknown_id)
    lost, example = 0, ()
    for ids, texts in said.items():
        if len(texts) > 1:
            lost += texts.total() - texts.most_common(1)[0][1]
            example = example or tuple(written[text] for text in [*texts][:2])
        elif ids and set(ids) == {unknown_id}:
            lost += texts.total()
            example = example or tuple(written[text] for text in texts)
    return TextReport(
        captions=len(captions),
        scripts=scripts_in(captions),
        reading=reading,
        vocabulary=tokenizer.get_vocab_size(),
        unknown=unknown / max(1, sum(counts)),
        lost=lost,
        example=example,
        tokens=np.array(counts, int),
    )


def lines_of(report: TextReport) -> list[str]:
    """Returns lines about captions for the user: one, and more where they cannot all be read."""
    scripts = ", ".join(f"{name} {share:.0%}" for name, share in report.scripts.items())
    pieces = "pieces of words" if report.reading.vocabulary == "wordpiece" else "pieces of bytes"
    most = int(np.quantile(report.tokens, 0.99, method="higher")) if len(report.tokens) else 0
    longest = report.tokens.max(initial=0)
    lines = [
        f"  texts: {scripts or 'no letters'}; words: {report.reading.words}; {report.vocabulary:,} "
        f"{pieces}; 99 % of captions have at most {most:,} tokens, the longest has {longest:,}"
    ]
    if report.unknown:
        lines.append(f"  texts: {report.unknown:.2%} of the tokens are not in the vocabulary")
    if report.lost:
        lines.append(f"  texts: {report.lost:,} captions {_alike(report)}")
    return lines


def refuse_if_lost(report: TextReport, *, max_bad: float) -> None:
    """Raises UserError where more than a share `max_bad` of the captions is lost."""
    if report.lost > max_bad * report.captions:
        raise UserError(
            f"{report.lost:,} of {report.captions:,} captions ({report.lost / report.captions:.1%})"
            f" {_alike(report)}, more than --max_bad {max_bad:.1%} allows: nothing was written. "
            "--vocabulary bytes reads every character"
        )


def _alike(report: TextReport) -> str:
    named = " and ".join(repr(caption[:60]) for caption in report.example)
    return f"cannot be read, or not be told from others: {named}"
