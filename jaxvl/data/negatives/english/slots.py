"""Words of an English caption that can be exchanged or replaced, and their context."""

from collections.abc import Sequence

from jaxvl.data.negatives.english import words
from jaxvl.data.negatives.reading import Connection, Reading, Slot, Token

_MAX_RUN = 3  # nouns in a row; more are a mistake of the tagger
_VISIBLE = ("colour", "pattern", "material")  # kinds whose words are adjectives before a noun
_DETERMINERS = ("DT", "PRP$", "CD", "POS", "PDT", "WP$")


def read(tokens: Sequence[Token]) -> Reading:
    """Returns the Reading of a caption's tokens."""
    adjectives = _adjectives(tokens)
    runs = _noun_runs(tokens, adjectives)
    nouns = [_noun(tokens, adjectives, first, last) for first, last in runs]
    slots = nouns + _described(tokens, adjectives, nouns) + _verbs(tokens, adjectives, nouns)
    return Reading(tokens, slots)


def _adjectives(tokens):
    """Returns the positions of words that describe a noun, colours tagged otherwise included."""
    found = set()
    for i in range(len(tokens) - 1, -1, -1):
        token = tokens[i]
        following = i + 1 < len(tokens) and (i + 1 in found or tokens[i + 1].tag[0] == "N")
        listed = any(kind in _VISIBLE for kind in words.LEXICON.kinds_of(token.word))
        if token.tag == "JJ" or listed and (following or _said_of(tokens, i)):
            found.add(i)
        elif token.tag in ("VBG", "VBN") and following and i and tokens[i - 1].tag in _DETERMINERS:
            found.add(i)  # "a smiling man"
    return found


def _said_of(tokens, i):
    """Returns whether word i follows a form of "be": "that is red", "that is big and red"."""
    if i >= 3 and tokens[i - 1].word == "and":
        i -= 2
    return i >= 1 and tokens[i - 1].lemma == "be"


def _noun_runs(tokens, adjectives):
    runs, i = [], 0
    while i < len(tokens):
        j = i
        while j < len(tokens) and tokens[j].tag in ("NN", "NNS") and j not in adjectives:
            j += 1
        if j > i and j - i <= _MAX_RUN:
            runs.append((i, j - 1))
        i = max(j, i + 1)
    return runs


def _before_phrase(tokens, adjectives, first):
    """Returns the position before the adjectives of a noun."""
    i = first - 1
    while i >= 0 and (
        i in adjectives
        or i > 0
        and tokens[i].word in ("and", ",")
        and i - 1 in adjectives
        and i + 1 in adjectives
    ):
        i -= 1
    return i


def _noun(tokens, adjectives, first, last):
    at = _before_phrase(tokens, adjectives, first)
    determined = at >= 0 and tokens[at].tag in _DETERMINERS
    form = tokens[last].tag
    if form == "NN":
        counted = determined and tokens[at].word in words.COUNTING
        form += "/a" if counted else "/the" if determined else "/"
    at -= determined
    return Slot(
        part="noun",
        first=first,
        last=last,
        start=tokens[first].start,
        end=tokens[last].end,
        lemma=" ".join([*(token.word for token in tokens[first:last]), tokens[last].lemma]),
        form=form,
        near=tokens[at].lemma if at >= 0 else "",
        far=_next(tokens, last),
    )


def _next(tokens, last):
    return tokens[last + 1].word if last + 1 < len(tokens) else ""


def _described(tokens, adjectives, nouns):
    """Returns the slots of the adjectives whose noun is clear."""
    slots = []
    for i in sorted(adjectives):
        at = i + 1
        while at in adjectives or at + 1 in adjectives and tokens[at].word in ("and", ","):
            at += 1
        head = next((k for k, noun in enumerate(nouns) if noun.first == at), -1)
        if head < 0 and _said_of(tokens, i):
            head = max((k for k, noun in enumerate(nouns) if noun.last < i), default=-1)
        token = tokens[i]
        if head >= 0 and token.word.replace("-", "").isalpha():
            near = nouns[head].lemma.rpartition(" ")[2]
            slots.append(
                Slot("adj", i, i, token.start, token.end, token.word, "JJ", near, "", head)
            )
    return slots


def _verbs(tokens, adjectives, nouns):
    slots = []
    for i, token in enumerate(tokens):
        previous = tokens[i - 1].tag if i else ""
        if (
            token.tag[:2] != "VB"
            or i == 0
            or i in adjectives
            or previous in _DETERMINERS
            or previous == "JJ"
            or token.tag == "VB"
            and previous not in ("TO", "MD")
            or not token.word.isalpha()
            or token.lemma in words.UNTOUCHED_VERBS
        ):
            continue
        near = _governed(tokens, i)
        if near == "NP":
            beside = next((noun for noun in nouns if noun.first > i), None)  # the object
        else:
            beside = next((noun for noun in reversed(nouns) if noun.last < i), None)
        far = beside.lemma.rpartition(" ")[2] if beside else ""
        slots.append(Slot("verb", i, i, token.start, token.end, token.lemma, token.tag, near, far))
    return slots


def _governed(tokens, i):
    """Returns what follows a verb: a preposition or particle, "NP", another tag, or ""."""
    if i + 1 == len(tokens):
        return ""
    following = tokens[i + 1]
    if following.tag in ("IN", "TO", "RP", "RB"):
        return following.word
    if following.tag in (*_DETERMINERS, "PRP") or following.tag[0] in "NJ":
        return "NP"
    return "" if following.tag in (".", ",", ":", "CC") else following.tag


def connection(reading: Reading, one: Slot, other: Slot) -> Connection | None:
    """Returns how noun `one` is related to the later noun `other`, or None where it is unclear."""
    tokens = reading.tokens
    between = range(one.last + 1, other.first)
    described = {slot.first for slot in reading.of("adj")}
    kept = [
        tokens[i]
        for i in between
        if i not in described and tokens[i].tag not in _DETERMINERS and tokens[i].lemma != "be"
    ]
    if not kept or len(kept) > 4 or any(token.tag in (",", "CC", ":", ".") for token in kept):
        return None
    nouns = [token.word for token in kept if token.tag in ("NN", "NNS")]
    if any(noun not in words.ONE_WAY_OF for noun in nouns):
        return None
    return Connection(" ".join(token.word for token in kept), _is_one_way(kept))


def _is_one_way(kept):
    last, lemmas = kept[-1], [token.lemma for token in kept]
    if any(lemma in words.BOTH_WAYS for lemma in lemmas):
        return False
    if last.word == "of":
        return len(kept) > 1 and kept[-2].word in words.ONE_WAY_OF
    if last.word == "than":
        return len(kept) > 1 and kept[-2].word in words.ONE_WAY_THAN
    if last.word == "by":
        return len(kept) > 1 and kept[-2].tag in ("VBN", "VBD")  # "hidden by"
    return last.word in words.ONE_WAY or last.tag[:2] == "VB"
