"""CLIP's byte-level BPE (Radford et al. 2021), built from its published files.

`transformers.CLIPTokenizer` builds the same, but importing it would cost every training process
seconds.
"""

import gzip
import itertools
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from jaxvl.errors import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 49_152 - 256 - 2  # of the published list; the rest was never used
_END_OF_WORD = "</w>"
# A word, a digit, or a run of other characters; English endings after an apostrophe are words.
_PIECES = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def from_merges(path: Path) -> Tokenizer:
    """Returns the tokenizer of OpenAI's bpe_simple_vocab_16e6.txt.gz.

    Ids: the letters that stand for bytes, the same at the end of a word, the merges, START, END.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        next(lines)  # its name and version
        merges = [_pair(line) for line in itertools.islice(lines, _MERGES)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}{_END_OF_WORD}" for letter in letters)]
    words += ["".join(pair) for pair in merges] + [START, END]
    return _build({word: number for number, word in enumerate(words)}, merges)


def from_files(vocabulary: Path, merges: Path) -> Tokenizer:
    """Returns the tokenizer of vocab.json and merges.txt.

    Raises UserError where they are of another BPE than CLIP's.
    """
    words, pairs = models.BPE.read_file(str(vocabulary), str(merges))
    if START not in words or END not in words:
        raise UserError(
            f"tokenizer {vocabulary.parent}: vocab.json has no {START} and {END}, so it is not "
            "CLIP's; other tokenizers need a tokenizer.json"
        )
    return _build(words, pairs)


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split()
    return first, second


def _build(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
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
