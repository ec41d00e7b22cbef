"""Decides whether a change may leave a caption true, from word lists, counts and other captions."""

from collections.abc import Callable, Mapping

from jaxvl.data.negatives.image_facts import ImageFacts
from jaxvl.data.negatives.languages import LANGUAGES
from jaxvl.data.negatives.reading import Slot
from jaxvl.data.negatives.vocabulary import Vocabulary


class Judge:
    """Decides on changes of caption `number` of an image.

    report: called with (kind of negative, what was tried, why it was rejected).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        facts: ImageFacts,
        number: int,
        report: Callable[[str, str, str], None],
    ):
        self.vocabulary, self.facts, self.report = vocabulary, facts, report
        self.caption, self.reading = facts.captions[number], facts.readings[number]
        self.language = LANGUAGES[vocabulary.language]
        self.lexicon = self.language.lexicon

    def seen(self, slot: Slot) -> Mapping[str, str]:
        """Returns {lemma: word as it is written} of the words in the slot's form."""
        return self.vocabulary.forms.get(f"{slot.part}|{slot.form}", {})

    def may_be_same(self, part: str, one: str, other: str) -> bool:
        """Returns whether two lemmas may both be true of one thing."""
        if self.lexicon.may_be_the_same(part, one, other):
            return True
        return other in self.vocabulary.confused[part].get(one, ())

    def exclude_each_other(self, one: str, other: str) -> bool:
        """Returns whether a thing has only one of two adjectives, by the lists or the counts."""
        if self.lexicon.kinds_of(one) and self.lexicon.kinds_of(other):
            return self.lexicon.contradict(one, other)
        return other in self.vocabulary.exclusive.get(one, ())

    def objection(self, slot: Slot, lemma: str) -> str | None:
        """Returns why a lemma must not replace the slot's, or None where it may."""
        part = slot.part
        if lemma == slot.lemma:
            return "the same lemma"
        if part == "noun" and {*lemma.split()} & {*slot.lemma.split()}:
            return "shares a word with it"
        if lemma in self.lexicon.vague[part] or part == "noun" and self.lexicon.is_colour(lemma):
            return "too general to contradict"
        if part == "adj" and not self.exclude_each_other(slot.lemma, lemma):
            return "both may be true of one thing"
        for own in (slot.lemma, slot.lemma.rpartition(" ")[2]):
            if self.may_be_same(part, own, lemma):
                return "a synonym, or often used for the same thing"
        return self._objection_of_captions(slot, lemma)

    def _objection_of_captions(self, slot: Slot, lemma: str) -> str | None:
        """Returns why a lemma may be true according to the captions of the image, or None."""
        mentioned = self.facts.mentioned[slot.part]
        if lemma in mentioned or lemma.rpartition(" ")[2] in mentioned:
            return "in a caption of the image"
        if lemma in self.lexicon.people and slot.part == "noun":
            # "a person" may be the man of this slot, so it does not show that a woman is there.
            people = mentioned & self.lexicon.people.keys()
            others = {other for other in people if not self._may_be_the_slot(slot, other)}
            if any(self.may_be_same("noun", lemma, other) for other in others):
                return "may be another person in the image"
        elif lemma in self.facts.implied[slot.part]:
            return "a synonym of a word in a caption of the image"
        return None

    def _may_be_the_slot(self, slot: Slot, other: str) -> bool:
        return slot.lemma in self.lexicon.people and self.may_be_same("noun", slot.lemma, other)
