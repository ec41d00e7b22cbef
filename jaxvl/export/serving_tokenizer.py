"""A run's tokenizer as a class of transformers, which cleans captions by itself."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict
from tokenizers import Tokenizer, normalizers

from jaxvl.data.text import tokenizer as tokenizers_lib
from jaxvl.errors import UserError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

CLIP_TOKENS = ("<|startoftext|>", "<|endoftext|>")


def make(tokenizer: Tokenizer, data: ConfigDict) -> "CLIPTokenizer | PreTrainedTokenizerFast":
    """Returns a transformers tokenizer that gives the same ids, at most data.max_tokens of them.

    CLIP's BPE becomes a CLIPTokenizer. Any other tokenizer, such as the WordPiece trained with a
    data set, becomes a PreTrainedTokenizerFast that cleans a caption and adds the special tokens.
    A special token that is spelt in a caption is read as plain characters.
    Raises UserError where captions are cut after some words of a segmenter, which it cannot do.
    """
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

    room = data.max_tokens - 1 - int(data.add_sep)
    if data.words and data.max_words < room:
        raise UserError(
            f"data.max_words={data.max_words} cuts captions by words ({data.words}), which "
            f"transformers cannot; train with data.max_words={room}, which max_tokens allows"
        )
    model = json.loads(tokenizer.to_str())["model"]
    if is_clip_bpe(tokenizer):
        merges: Any = [tuple(pair) for pair in model["merges"]]
        return CLIPTokenizer(
            vocab=model["vocab"],
            merges=merges,
            model_max_length=data.max_tokens,
            split_special_tokens=True,
        )
    special = tokenizers_lib.special_ids(tokenizer)._asdict()
    roles = {"pad": "pad_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}
    names: dict[str, str] = {
        roles[role]: tokenizer.id_to_token(number) or ""
        for role, number in special.items()
        if number >= 0 and not (role == "sep" and not data.add_sep)
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=_with_cleaning(tokenizer, data, names),
        model_max_length=data.max_tokens,
        unk_token=model.get("unk_token"),
        split_special_tokens=True,
        **names,
    )


def is_clip_bpe(tokenizer: Tokenizer) -> bool:
    """Returns whether it is the byte-level BPE of CLIP."""
    model = json.loads(tokenizer.to_str())["model"]
    known = all(tokenizer.token_to_id(token) is not None for token in CLIP_TOKENS)
    return model["type"] == "BPE" and known


def save_bpe_files(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes vocab.json and merges.txt if the tokenizer is CLIP's BPE."""
    if not is_clip_bpe(tokenizer):
        return
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _with_cleaning(tokenizer: Tokenizer, data: ConfigDict, names: dict[str, str]) -> Tokenizer:
    """Returns a copy that cleans captions and adds the special tokens in `names`."""
    from tokenizers import processors

    framed = Tokenizer.from_str(tokenizer.to_str())
    steps = [*_cleaning(data.max_words)] if tokenizers_lib.cleans(tokenizer) else []
    if framed.normalizer is not None:
        steps.append(framed.normalizer)
    framed.normalizer = normalizers.Sequence(steps)
    first = names["cls_token"]
    last = [names["sep_token"]] if data.add_sep else []
    framed.post_processor = processors.TemplateProcessing(
        single=[first, "$A", *last],
        special_tokens=[(token, framed.token_to_id(token)) for token in [first, *last]],
    )
    return framed


def _cleaning(max_words: int) -> tuple[normalizers.Normalizer, ...]:
    """Returns jaxvl.data.text.clean.clean_caption as normalisers."""
    from tokenizers import Regex

    further = Regex(r"^(?:\S+ ){%d}\S+\K.*" % (max_words - 1))  # noqa: UP031
    return (
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[,.'!?\"()*#:;~]"), ""),
        normalizers.Replace(Regex(r"[-/]"), " "),
        normalizers.Replace("<person>", "person"),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
        normalizers.Replace(further, ""),
    )
