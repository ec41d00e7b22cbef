"""How a text becomes tokens and words in an exported folder: as in training.

This file is copied into exported folders, so it imports nothing of jaxvl.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tokenizers

Span = tuple[int, int]  # first character of a word, and the one behind its last


class Read(NamedTuple):
    """A text as the model reads it.

    words: of each token, the index of its word; -1 at special tokens. spelt: the words that the
    model reads. truncated: the words behind them, because the text is too long.
    """

    ids: list[int]
    words: list[int]
    spelt: list[str]
    truncated: list[str]


class Reader:
    """Reads texts: [CLS], the words, and [SEP] if the model was trained so."""

    def __init__(
        self,
        told: Mapping[str, Any],
        tokenizer: tokenizers.Tokenizer,
        segment: Callable[[str, str], list[Span]] | None = None,
    ):
        """told: the tokens of a config.json.

        segment: of jaxvl_words, (text, language) -> places of its words; None where blanks separate
        them.
        """
        self.told, self.tokenizer, self.segment = told, tokenizer, segment

    def read(self, text: str) -> Read:
        """Returns a text as the model reads it; one that does not fit is truncated."""
        told = self.told
        first, last = [told["cls"]], [told["sep"]] if told["add_sep"] else []
        room = told["max_tokens"] - len(first) - len(last)
        kept = self._as_trained(text, told["max_words"])
        self._reset()
        encoding = self.tokenizer.encode(kept, add_special_tokens=False)
        starts = [start for start, _ in self._spans(kept)]
        found = [max(0, bisect_left(starts, end) - 1) for _, end in encoding.offsets[:room]]
        if told.get("words"):
            found = found[: bisect_left(found, told["max_words"])]
        whole = self._as_trained(text)
        spelt = [whole[start:end] for start, end in self._spans(whole)]
        count = max(found, default=-1) + 1
        return Read(
            ids=first + encoding.ids[: len(found)] + last,
            words=[-1] * len(first) + found + [-1] * len(last),
            spelt=spelt[:count],
            truncated=spelt[count:],
        )

    def _reset(self) -> None:
        """Undoes what an earlier call of transformers set, which sets it anew in each call."""
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # "[SEP]" in a text is not a special token

    def _as_trained(self, text: str, most: int | None = None) -> str:
        """Returns a text as the tokenizer is given it, with single blanks."""
        if not self.told["cleans"]:
            return " ".join(text.split())
        text = re.sub(r"[,.'!?\"()*#:;~]", "", text.lower())
        text = text.replace("-", " ").replace("/", " ").replace("<person>", "person")
        return " ".join(text.split()[:most])

    def _spans(self, text: str) -> list[Span]:
        if self.segment and self.told.get("words"):
            return self.segment(text, self.told["words"])
        return [match.span() for match in re.finditer(r"\S+", text)]
