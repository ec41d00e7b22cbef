"""Trains a tokenizer on captions: WordPiece as BERT's, or a BPE of bytes, which reads anything."""

import collections
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from jaxvl.data.text.clean import clean_caption
from jaxvl.data.text.scripts import ENGLISH, Reading
from jaxvl.data.text.words import spans_of

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_MAX_WORD_LETTERS = 100  # as in models.WordPiece
# Marks the beginning of a word that follows another without a blank, in training alone.
_BORDER = "\x1f"
# Letters with their marks, a digit, or signs; each with the blank before it.
_RUN = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+"
_INVISIBLE = "[\u200b\u2060\ufeff]"  # spaces of no width
_PUNCTUATION = r"(?<![0-9])\p{P}|\p{P}(?![0-9])"  # but 1.5 stays
_NEEDLESS = r" (?=[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}])"


def train(
    captions: Iterable[str], *, vocabulary_size: int, reading: Reading = ENGLISH
) -> Tokenizer:
    """Returns a tokenizer of at most `vocabulary_size` ids; ids 0-4 are the SPECIAL_TOKENS.

    reading.vocabulary: "wordpiece" is BERT's, of cleaned captions; characters that it lacks are
    read as [UNK], and without reading.accents letters lose theirs. "bytes" is a BPE that reads
    anything and cleans captions itself; it has 261 ids at least.
    The result depends on the captions alone. Raises UserError where a segmenter is not installed.
    """
    if reading.vocabulary == "bytes":
        return _train_bytes(captions, vocabulary_size, reading.words)
    return _train_word_piece(captions, vocabulary_size, accents=reading.accents)


def _train_word_piece(captions: Iterable[str], size: int, *, accents: bool) -> Tokenizer:
    cleaned = [_trainable(caption) for caption in captions]
    # The trainer numbers letters in the order of a randomly seeded hash map, and breaks ties by
    # number. Given the letters beforehand, in a fixed order, it gives the same result every time.
    untrained = _word_piece(models.WordPiece(unk_token="[UNK]"), accents=accents)
    letters = _alphabet(untrained.normalizer, cleaned, limit=size // 4)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in letters)],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    untrained.train_from_iterator(cleaned, trainer)
    # A fresh tokenizer, in which the letters are not special.
    model = models.WordPiece(vocab=untrained.get_vocab(), unk_token="[UNK]")
    tokenizer = _word_piece(model, accents=accents)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _trainable(caption: str) -> str:
    # WordPiece reads longer words as [UNK]; training on one takes time quadratic in its length.
    words = clean_caption(caption, max_words=None).split()
    return " ".join(word for word in words if len(word) <= _MAX_WORD_LETTERS)


def _word_piece(model: models.WordPiece, *, accents: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    if accents:  # as one letter each, however they are written
        kept = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), kept])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _alphabet(normalizer: Any, texts: Iterable[str], *, limit: int) -> list[str]:
    """Returns the `limit` most frequent characters: rare ones must not crowd out the words."""
    counts = collections.Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    del counts[" "]
    return sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:limit])


def _train_bytes(captions: Iterable[str], size: int, words: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(_INVISIBLE), ""),
            normalizers.Replace(Regex(_PUNCTUATION), " "),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(_NEEDLESS), ""),
            normalizers.Strip(),
        ]
    )
    runs: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(_RUN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    at_borders = pre_tokenizers.Split(_BORDER, behavior="removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([at_borders, *runs])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_bordered(captions, words), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(runs)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _bordered(captions: Iterable[str], words: str) -> Iterator[str]:
    """Yields captions in which no token of the vocabulary will reach from a word into the next."""
    for caption in captions:
        text = " ".join(caption.split())
        spelt, end = [], 0
        for start, stop in spans_of(text, words):
            if stop - start <= _MAX_WORD_LETTERS:
                spelt.append(" " * text[end:start].isspace() + text[start:stop])
            end = stop
        yield _BORDER.join(spelt)
