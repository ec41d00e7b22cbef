"""Caption cleaning, in pure Python."""

import re

_REMOVED = re.compile(r"[,.'!?\"()*#:;~]")
_TO_SPACE = str.maketrans("-/", "  ")


def clean_caption(caption: str, *, max_words: int | None) -> str:
    """Returns a caption as the model reads it: lower case, no punctuation.

    max_words: words that are kept; None keeps all. The words of the result are separated by single
    spaces, so `.split()` gives the words that `mentions` and `tokenizer.encode` count. The result
    may be empty. Source: ALBEF, dataset/utils.py `pre_caption`.
    """
    text = _REMOVED.sub("", caption.lower()).translate(_TO_SPACE).replace("<person>", "person")
    return " ".join(text.split()[:max_words])
