"""Tokenizers: loads any fast Hugging Face tokenizer, trains a WordPiece one, encodes captions.

Letters: n captions, L tokens of a caption.
"""

import collections
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import Tokenizer, models, trainers

from jaxvl.data.text import clip_bpe
from jaxvl.data.text.clean import clean_caption
from jaxvl.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# The names of one role in BERT, RoBERTa and CLIP, in this order.
_CLS = ("[CLS]", "<s>", "<|startoftext|>")
_SEP = ("[SEP]", "</s>", "<|endoftext|>")
_PAD = ("[PAD]", "<pad>", "<|endoftext|>")
_MAX_WORD_LETTERS = 100  # as in models.WordPiece
_MASK = ("[MASK]", "<mask>")


class Tokens(NamedTuple):
    """Encoded captions.

    ids: int32 [n, L]. mask: bool [n, L], True at tokens, False at padding.
    words: int32 [n, L], the index of the whitespace word of the cleaned caption that a token
    belongs to, -1 at special tokens and padding.
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

    path = Path(name_or_path)
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


def train(captions: Iterable[str], *, vocabulary_size: int) -> Tokenizer:
    """Returns a BERT-style WordPiece tokenizer of at most `vocabulary_size` ids.

    The captions are cleaned first. Ids 0-4 are [PAD] [UNK] [CLS] [SEP] [MASK]. The result depends
    on the captions alone.
    """
    cleaned = [_trainable(caption) for caption in captions]
    # The trainer numbers letters in the order of a randomly seeded hash map, and breaks ties by
    # number. Given the letters beforehand, in a fixed order, it gives the same result every time.
    untrained = _word_piece(models.WordPiece(unk_token="[UNK]"))
    letters = _alphabet(untrained.normalizer, cleaned, limit=vocabulary_size // 4)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in letters)],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    untrained.train_from_iterator(cleaned, trainer)
    # A fresh tokenizer, in which the letters are not special.
    model = models.WordPiece(vocab=untrained.get_vocab(), unk_token="[UNK]")
    tokenizer = _word_piece(model)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _trainable(caption: str) -> str:
    # WordPiece reads longer words as [UNK]; training on one takes time quadratic in its length.
    words = clean_caption(caption, max_words=None).split()
    return " ".join(word for word in words if len(word) <= _MAX_WORD_LETTERS)


def _word_piece(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return tokenizer


def _alphabet(normalizer: Any, texts: Iterable[str], *, limit: int) -> list[str]:
    """Returns the `limit` most frequent characters: rare ones must not crowd out the words."""
    counts = collections.Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    del counts[" "]
    return sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:limit])


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


def encode(
    tokenizer: Tokenizer,
    captions: Sequence[str],
    *,
    max_tokens: int,
    max_words: int,
    add_sep: bool,
) -> Tokens:
    """Returns the Tokens of captions: [CLS], the caption, [SEP] if add_sep, padded to max_tokens.

    Captions are cleaned as in ALBEF, which keeps max_words words; but a byte-level BPE such as
    CLIP's reads them as they are written. A longer caption is truncated to max_tokens, special
    tokens included. An empty caption gives [CLS] (and [SEP]) alone.
    Raises UserError where add_sep needs a [SEP] that the tokenizer lacks, or max_tokens leaves no
    room for a word.
    """
    special = special_ids(tokenizer)
    if add_sep and special.sep < 0:
        raise UserError(f"data.add_sep: the tokenizer has none of {', '.join(_SEP)}")
    room = max_tokens - 1 - int(add_sep)
    if room < 1:
        raise UserError(f"data.max_tokens: {max_tokens} leaves no room for a word")
    cleaned = [_read_as(tokenizer, caption, max_words) for caption in captions]
    ids = np.full((len(cleaned), max_tokens), max(special.pad, 0), np.int32)
    words = np.full((len(cleaned), max_tokens), -1, np.int32)
    lengths = np.empty(len(cleaned), np.int32)
    encodings = tokenizer.encode_batch(cleaned, add_special_tokens=False)
    for row, (text, encoding) in enumerate(zip(cleaned, encodings)):
        pieces = encoding.ids[:room]
        ids[row, 0] = special.cls
        ids[row, 1 : 1 + len(pieces)] = pieces
        words[row, 1 : 1 + len(pieces)] = _word_indices(text, encoding.offsets[:room])
        lengths[row] = 1 + len(pieces)
        if add_sep:
            ids[row, lengths[row]] = special.sep
            lengths[row] += 1
    return Tokens(ids=ids, mask=np.arange(max_tokens) < lengths[:, None], words=words)


def _read_as(tokenizer: Tokenizer, caption: str, max_words: int) -> str:
    if cleans(tokenizer):
        return clean_caption(caption, max_words=max_words)
    return " ".join(caption.split())


def cleans(tokenizer: Tokenizer) -> bool:
    """Returns whether captions are cleaned for this tokenizer: not for a BPE such as CLIP's."""
    return not isinstance(tokenizer.model, models.BPE)


def _word_indices(text: str, offsets: Iterable[tuple[int, int]]) -> list[int]:
    # By each token's last character: in byte-level tokenizers a word includes the space before it.
    return [text.count(" ", 0, end) for _, end in offsets]
