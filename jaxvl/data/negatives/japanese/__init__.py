"""Japanese: the rules for its hard negatives."""

from jaxvl.data.negatives.japanese import analysis, slots
from jaxvl.data.negatives.japanese.words import ATTRIBUTES, LEXICON, UNTOUCHED_NOUNS
from jaxvl.data.negatives.language import Language, Seen
from jaxvl.data.negatives.reading import Slot

_ENDINGS = "い な 色 製 側 端 型 形 用 柄".split()


def _text_of(caption: str, slot: Slot) -> str:
    return caption[slot.start : slot.end]


def _adjective_at(caption: str, slot: Slot, place: Slot) -> str | None:
    """Returns an adjective as it is written, where the other place has the same form."""
    return _text_of(caption, slot) if slot.form == place.form else None


def _is_noun(slot: Slot, seen: Seen) -> bool:
    *_, last = parts = slot.lemma.split() or [""]
    return last not in UNTOUCHED_NOUNS and all(part.isalnum() for part in parts)


def _adjectives(slot: Slot, seen: Seen) -> list[tuple[str, str]]:
    """Returns of each value that contradicts this one the word that is written most alike."""
    found = []
    for kind in sorted(LEXICON.kinds_of(slot.lemma)):
        for group in ATTRIBUTES[kind]:
            words = [word for word in group.split() if _in_form(word, slot.form)]
            if slot.lemma not in group.split() and words:
                word = next((w for w in words if _style(w) == _style(slot.lemma)), words[0])
                found.append((word, _in_form(word, slot.form)))
    return [(word, text) for word, text in found if text]


def _in_form(word: str, form: str) -> str:
    """Returns a listed word in a form of `analysis`, "" where it has none."""
    if word.endswith("な"):
        return word if form == "attr" else ""
    if word.endswith("い"):
        return {"attr": word, "pred": word, "く": f"{word[:-1]}く"}.get(form, "")
    return {"attr": f"{word}の", "bare": word}.get(form, "")


def _style(word: str) -> str:
    """Returns how a word is written: in katakana, or its ending."""
    if all("ァ" <= letter <= "ー" for letter in word):
        return "katakana"
    return next((ending for ending in _ENDINGS if word.endswith(ending) and word != ending), "")


JAPANESE = Language(
    check_installed=analysis.check_installed,
    analyse=analysis.analyse,
    read=slots.read,
    connection=slots.connection,
    lexicon=LEXICON,
    noun_at=lambda caption, slot, place, seen: _text_of(caption, slot),
    adjective_at=_adjective_at,
    is_noun=_is_noun,
    adjectives=_adjectives,
    no_fillers=frozenset(("mlm",)),
    least_count=2,
)
