"""Tokenizers: loads any fast Hugging Face tokenizer, encodes captions.

`training.py` trains them.

Letters: n captions, L tokens of a caption.
"""

import bisect
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from ml_collections import ConfigDict
from tokenizers import Tokenizer, models

from jaxvl import copies
from jaxvl.data.text import clip_bpe
from jaxvl.data.text.clean import clean_caption
from jaxvl.data.text.training import train as train
from jaxvl.data.text.words import Span, spans_of
from jaxvl.errors import UserError

# The names of one role in BERT, RoBERTa and CLIP, in this order.
_CLS = ("[CLS]", "<s>", "<|startoftext|>")
_SEP = ("[SEP]", "</s>", "<|endoftext|>")
_PAD = ("[PAD]", "<pad>", "<|endoftext|>")
_MASK = ("[MASK]", "<mask>")
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")  # in a folder


class Tokens(NamedTuple):
    """Encoded captions.

    ids: int32 [n, L]. mask: bool [n, L], True at tokens, False at padding.
    words: int32 [n, L], the index of the word of the cleaned caption that a token belongs to, -1 at
    special tokens and padding.
    """

    ids: np.ndarray
    mask: np.ndarray
    words: np.ndarray


class SpecialIds(NamedTuple):
    """Ids of the special tokens; -1 for one that the tokenizer does not have (never cls)."""

    pad: int
    cls: int
    sep: int
    mask: int


def load(name_or_path: Path | str) -> Tokenizer:
    """Returns a tokenizer: from a tokenizer.json, a folder that holds one, a vocab.txt, or by name.

    vocab.txt is BERT's. CLIP's tokenizer is also read from its vocab.json and merges.txt, or from
    OpenAI's list of merges (.gz). A name is looked up in the local Hugging Face cache only, never
    on the network. A special token that is spelt in a caption is read as plain characters.
    Raises UserError where there is none, with the command that fetches it.
    """
    path = _tokenizer_file(str(name_or_path))
    try:
        if path.suffix == ".txt":
            tokenizer = Tokenizer.from_str(tokenizers.BertWordPieceTokenizer(str(path)).to_str())
        elif path.suffix == ".gz":
            tokenizer = clip_bpe.from_merges(path)
        elif path.name == "vocab.json":
            tokenizer = clip_bpe.from_files(path, path.with_name("merges.txt"))
        else:
            tokenizer = Tokenizer.from_file(str(path))
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception for unreadable files
        raise UserError(f"tokenizer {path}: not a tokenizer file ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _tokenizer_file(name_or_path: str) -> Path:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    path = copies.local(name_or_path, only=_FILES)
    if path.is_file():
        return path
    if path.is_dir():
        for name in ("tokenizer.json", "vocab.txt"):
            if (path / name).is_file():
                return path / name
        if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
            return path / "vocab.json"
    else:
        try:
            cached = try_to_load_from_cache(name_or_path, "tokenizer.json")
        except HFValidationError:
            cached = None
        if isinstance(cached, str | os.PathLike):
            return Path(cached)
    raise UserError(
        f"tokenizer {name_or_path!r}: no tokenizer.json there and none of this name in the local "
        'cache; make a folder that holds one with: python -c "from transformers import '
        f"AutoTokenizer as T; T.from_pretrained('{name_or_path}').save_pretrained('FOLDER')\""
    )


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
    """Returns the ids of a tokenizer's special tokens.

    Raises UserError if it has no token to begin a caption with.
    """
    pad, cls, sep, mask = (_first_id(tokenizer, names) for names in (_PAD, _CLS, _SEP, _MASK))
    if cls < 0:
        raise UserError(f"tokenizer: has none of {', '.join(_CLS)} to begin a caption with")
    return SpecialIds(pad=pad, cls=cls, sep=sep, mask=mask)


def _first_id(tokenizer: Tokenizer, names: Iterable[str]) -> int:
    for name in names:
        token_id = tokenizer.token_to_id(name)
        if token_id is not None:
            return token_id
    return -1


def encode_for(tokenizer: Tokenizer, captions: Sequence[str], data: ConfigDict) -> Tokens:
    """Returns the Tokens of captions as a run reads them. data: config.data. Raises as `encode`."""
    return encode(
        tokenizer,
        captions,
        max_tokens=data.max_tokens,
        max_words=data.max_words,
        add_sep=data.add_sep,
        words=data.words,
    )


def encode(
    tokenizer: Tokenizer,
    captions: Sequence[str],
    *,
    max_tokens: int,
    max_words: int,
    add_sep: bool,
    words: str = "",
) -> Tokens:
    """Returns the Tokens of captions: [CLS], the caption, [SEP] if add_sep, padded to max_tokens.

    Captions are cleaned as in ALBEF, which keeps max_words words; but a byte-level BPE such as
    CLIP's reads them as they are written. words: how words are found, a name in `words.WORDS`; then
    max_words are kept for every tokenizer. A longer caption is truncated to max_tokens, special
    tokens included. An empty caption gives [CLS] (and [SEP]) alone.
    Raises UserError where add_sep needs a [SEP] that the tokenizer lacks, max_tokens leaves no
    room for a word, or the segmenter is not installed.
    """
    special = special_ids(tokenizer)
    if add_sep and special.sep < 0:
        raise UserError(f"data.add_sep: the tokenizer has none of {', '.join(_SEP)}")
    room = max_tokens - 1 - int(add_sep)
    if room < 1:
        raise UserError(f"data.max_tokens: {max_tokens} leaves no room for a word")
    read = [read_as(tokenizer, caption, max_words=max_words) for caption in captions]
    ids = np.full((len(read), max_tokens), max(special.pad, 0), np.int32)
    word_of = np.full((len(read), max_tokens), -1, np.int32)
    lengths = np.empty(len(read), np.int32)
    encodings = tokenizer.encode_batch(read, add_special_tokens=False)
    for row, (text, encoding) in enumerate(zip(read, encodings)):
        indices = _word_indices(spans_of(text, words), encoding.offsets[:room])
        if words:
            indices = indices[: bisect.bisect_left(indices, max_words)]
        end = 1 + len(indices)
        ids[row, 0] = special.cls
        ids[row, 1:end] = encoding.ids[: len(indices)]
        word_of[row, 1:end] = indices
        if add_sep:
            ids[row, end] = special.sep
        lengths[row] = end + int(add_sep)
    return Tokens(ids=ids, mask=np.arange(max_tokens) < lengths[:, None], words=word_of)


def read_as(tokenizer: Tokenizer, caption: str, *, max_words: int | None = None) -> str:
    """Returns a caption as the tokenizer is given it, with single blanks. max_words: None for all.

    Only captions that are cleaned are cut to max_words, which stand between blanks.
    """
    if cleans(tokenizer):
        return clean_caption(caption, max_words=max_words)
    return " ".join(caption.split())


def cleans(tokenizer: Tokenizer) -> bool:
    """Returns whether captions are cleaned for this tokenizer: not for a BPE such as CLIP's."""
    return not isinstance(tokenizer.model, models.BPE)


def _word_indices(spans: Sequence[Span], offsets: Iterable[tuple[int, int]]) -> list[int]:
    # By each token's last character: in byte-level tokenizers a word includes the space before it.
    starts = [start for start, _ in spans]
    return [max(0, bisect.bisect_left(starts, end) - 1) for _, end in offsets]
