"""CLIP's byte-level BPE (Radford et al. 2021) built from its published files."""

import gzip
import json

from jaxvl.errors import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 49_152 - 256 - 2  # of the published list; the rest was never used
_END_OF_WORD = "</w>"
# A word, a digit, a run of other signs; English endings after an apostrophe are words of their own.
_PIECES = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def from_merges(path):
    """The tokenizer of OpenAI's bpe_simple_vocab_16e6.txt.gz, whose order gives the ids."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        merges = _pairs(lines)[:_MERGES]
    letters = _byte_letters()
    words = [*letters, *(f"{letter}{_END_OF_WORD}" for letter in letters)]
    words += ["".join(pair) for pair in merges] + [START, END]
    return _build({word: number for number, word in enumerate(words)}, merges)


def from_files(vocabulary, merges):
    """The tokenizer of vocab.json and merges.txt. Raises UserError where they are not CLIP's."""
    words = json.loads(vocabulary.read_text(encoding="utf-8"))
    if START not in words or END not in words:
        raise UserError(
            f"tokenizer {vocabulary.parent}: vocab.json has no {START} and {END}, so it is not "
            "CLIP's; for others a tokenizer.json is needed"
        )
    with merges.open(encoding="utf-8") as lines:
        return _build(words, _pairs(lines))


def _pairs(lines):
    pairs = [tuple(line.split()) for line in lines if not line.startswith(("#version", '"bpe_'))]
    return [pair for pair in pairs if len(pair) == 2]


def _byte_letters():
    """The letter that stands for each byte, those that print first (GPT-2's order)."""
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printing]
    return [chr(byte) for byte in printing] + [chr(256 + n) for n in range(len(others))]


def _build(vocabulary, merges):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, end_of_word_suffix=_END_OF_WORD, unk_token=END)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START, END])
    return tokenizer
