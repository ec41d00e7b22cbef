"""A run's tokenizer as Hugging Face's classes use it: the cleaning of captions inside."""

import json

from jaxvl.data.text import tokenizer as tokenizers_lib

CLIP_SIGNS = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}


def make(tokenizer, data):
    """Returns a transformers tokenizer that gives the same ids, of at most data.max_tokens.

    CLIP's BPE becomes a CLIPTokenizer. Any other, such as the WordPiece trained with a data set,
    becomes a PreTrainedTokenizerFast that cleans and frames a caption itself.
    """
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

    model = json.loads(tokenizer.to_str())["model"]
    if is_clip_bpe(tokenizer):
        merges = [tuple(pair) for pair in model["merges"]]
        return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=data.max_tokens)
    special = tokenizers_lib.special_ids(tokenizer)._asdict()
    roles = {"pad": "pad_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}
    signs = {
        roles[role]: tokenizer.id_to_token(number)
        for role, number in special.items()
        if number >= 0 and not (role == "sep" and not data.add_sep)
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=_framed(tokenizer, data, signs),
        model_max_length=data.max_tokens,
        unk_token=model.get("unk_token"),
        **signs,
    )


def is_clip_bpe(tokenizer):
    """Whether it is the byte-level BPE of CLIP."""
    model = json.loads(tokenizer.to_str())["model"]
    known = all(tokenizer.token_to_id(sign) is not None for sign in CLIP_SIGNS.values())
    return model["type"] == "BPE" and known


def save_bpe_files(tokenizer, folder):
    """Writes vocab.json and merges.txt beside tokenizer.json, where it is CLIP's BPE."""
    if not is_clip_bpe(tokenizer):
        return
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _framed(tokenizer, data, signs):
    from tokenizers import Tokenizer, normalizers, processors

    framed = Tokenizer.from_str(tokenizer.to_str())
    steps = [*_cleaning(data.max_words)] if tokenizers_lib.cleans(tokenizer) else []
    if framed.normalizer is not None:
        steps.append(framed.normalizer)
    framed.normalizer = normalizers.Sequence(steps)
    first = signs["cls_token"]
    last = [signs["sep_token"]] if data.add_sep else []
    framed.post_processor = processors.TemplateProcessing(
        single=[first, "$A", *last],
        special_tokens=[(sign, framed.token_to_id(sign)) for sign in [first, *last]],
    )
    return framed


def _cleaning(max_words):
    """jaxvl.data.text.clean.clean_caption as normalisers."""
    from tokenizers import Regex, normalizers

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
