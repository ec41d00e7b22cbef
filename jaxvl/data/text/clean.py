"""Caption cleaning, in pure Python."""

import re

_REMOVED = re.compile(r"[,.'!?\"()*#:;~]")
_TO_SPACE = str.maketrans("-/", "  ")


def clean_caption(caption, *, max_words):
    """A caption as the model reads it: lower case, no punctuation, at most `max_words` words.

    The words of the result are separated by single spaces; `.split()` gives the word indices
    that `mentions` and `tokenizer.encode` count in. May be empty.
    Source: ALBEF, dataset/utils.py `pre_caption`.
    """
    text = _REMOVED.sub("", caption.lower()).translate(_TO_SPACE).replace("<person>", "person")
    return " ".join(text.split()[:max_words])
