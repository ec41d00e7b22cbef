"""Words of a Japanese caption that can be exchanged or replaced, and their context."""

from collections.abc import Sequence

from jaxvl.data.negatives.japanese import words
from jaxvl.data.negatives.reading import Connection, Reading, Slot, Token

_SUBJECT = ("が", "は", "も")
_OBJECT = ("を", "に")
_FAR = 6  # tokens from a noun to its verb


def read(tokens: Sequence[Token]) -> Reading:
    """Returns the Reading of a caption's tokens."""
    nouns = [_noun(tokens, i) for i, token in enumerate(tokens) if token.tag == "N"]
    adjectives = [_adjective(tokens, i, nouns) for i, t in enumerate(tokens) if t.tag[:2] == "A|"]
    verbs = [_verb(tokens, i) for i, token in enumerate(tokens) if token.tag[:2] == "V|"]
    return Reading(tokens, nouns + [s for s in adjectives + verbs if s is not None])


def _slot(part: str, token: Token, i: int, form: str, near: str, far: str, head: int = -1) -> Slot:
    return Slot(part, i, i, token.start, token.end, token.lemma, form, near, far, head)


def _noun(tokens: Sequence[Token], i: int) -> Slot:
    """Returns the slot of a noun, a person or a thing.

    near is its counter (匹), far its particle and verb (を持つ).
    """
    after = tokens[i + 1 : i + 1 + _FAR]
    particle = after[0].word if after and after[0].tag == "P" else ""
    verb = next((token.lemma for token in after if token.tag[:2] == "V|"), "")
    far = particle + verb if particle and verb else ""
    form = "person" if tokens[i].lemma in words.LEXICON.people else "thing"
    return _slot("noun", tokens[i], i, form, _counter(tokens, i), far)


def _counter(tokens: Sequence[Token], i: int) -> str:
    """Returns the counter of a noun, 匹 in "2匹の茶色い犬" and 枚 in "皿が3枚", or ""."""
    at = i - 1
    while at >= 0 and tokens[at].tag[0] == "A":
        at -= 1
    if at >= 1 and tokens[at].word == "の" and tokens[at - 1].tag == "C":
        return tokens[at - 1].lemma
    if i + 2 < len(tokens) and tokens[i + 1].tag == "P" and tokens[i + 2].tag == "C":
        return tokens[i + 2].lemma
    return ""


def _adjective(tokens: Sequence[Token], i: int, nouns: Sequence[Slot]) -> Slot | None:
    """Returns the slot of a word that describes a noun, None where the noun is not clear."""
    form = tokens[i].tag[2:]
    at = i + 1
    while at < len(tokens) and (
        tokens[at].tag[0] in "ACD" or tokens[at].word in ("て", "、", "の")
    ):
        at += 1
    head = next((k for k, noun in enumerate(nouns) if noun.first == at), -1)
    if head < 0 and form in ("pred", "く", "bare"):
        head = max((k for k, noun in enumerate(nouns) if noun.first < i), default=-1)
    if head < 0:
        return None
    near = nouns[head].lemma.rpartition(" ")[2]
    return _slot("adj", tokens[i], i, form, near, "", head)


def _verb(tokens: Sequence[Token], i: int) -> Slot | None:
    """Returns the slot of a verb with its endings; near is the particle before it."""
    if tokens[i].lemma in words.UNTOUCHED_VERBS or i == 0:
        return None
    particle = tokens[i - 1].word if tokens[i - 1].tag == "P" else ""
    noun = tokens[i - 2].lemma if i >= 2 and tokens[i - 2].tag in ("N", "L") else ""
    return _slot("verb", tokens[i], i, tokens[i].tag[2:], particle, noun.rpartition(" ")[2])


def connection(reading: Reading, one: Slot, other: Slot) -> Connection | None:
    """Returns how noun `one` is related to the later noun `other`, or None where it is unclear."""
    tokens = reading.tokens
    kept = [token for token in tokens[one.last + 1 : other.first] if token.tag[0] not in "ACD"]
    if not kept or len(kept) > 5 or any(token.tag in (",", "X", "N") for token in kept):
        return None
    spelt = "".join(token.word for token in kept)
    if len(kept) == 1:
        if spelt in _SUBJECT:
            return _with_subject(tokens, spelt, other)
        return None if spelt == "の" else Connection(spelt, False)
    return Connection(spelt, _is_one_way(kept))


def _is_one_way(between: Sequence[Token]) -> bool:
    """Returns whether "テーブルの上の", "を持つ" or "に乗った" stands between two nouns."""
    verbs = [token.lemma for token in between if token.tag[:2] == "V|"]
    places = [token.lemma for token in between if token.tag == "L"]
    if any(verb in words.BOTH_WAYS for verb in verbs):
        return False
    if places:
        return between[0].word == "の" and all(place in words.ONE_WAY_PLACES for place in places)
    return bool(verbs) and between[0].word in (*_OBJECT, "で", "から")


def _with_subject(tokens: Sequence[Token], particle: str, other: Slot) -> Connection | None:
    """Returns the relation of a subject to the noun behind it: 犬がソファの上で寝ている."""
    rest = [token for token in tokens[other.last + 1 :] if token.tag[0] not in "ACD"]
    end = next((k for k, token in enumerate(rest) if token.tag[:2] == "V|"), len(rest))
    between = rest[: end + 1]
    if not between or len(between) > 4 or any(token.tag in (",", "N") for token in between):
        return None
    spelt = particle + "…" + "".join(token.word for token in between)
    return Connection(spelt, end < len(rest) and _is_one_way(between))
