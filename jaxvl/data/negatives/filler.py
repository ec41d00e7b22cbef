"""What a filler of hard negatives is: the source of the words that are put into a caption."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxvl.data.negatives.reading import Reading, Slot
from jaxvl.data.negatives.vocabulary import Vocabulary
from jaxvl.errors import UserError

Example = tuple[list[str], list[Reading]]  # the captions of one image, and their readings
Candidate = tuple[str, str, float | None]  # lemma, word as it is written, score
Fill = Callable[[str, Slot, random.Random], Iterator[Candidate]]
Prepare = Callable[[list[Example]], Fill]


class Filler(NamedTuple):
    """A filler that is ready for use.

    name: its name in FILLERS, which is stored with each negative.
    prepare: (examples) -> fill; it sees some examples at once, so that it can work in batches.
      fill: (caption, slot, rng) -> the candidates for the slot, the best one first.
    """

    name: str
    prepare: Prepare


def no_language_model(folder: str) -> tuple[Any, Any]:
    """Raises UserError: the caller gave no function that reads a language model."""
    raise UserError(f"{folder}: nothing here reads language models; give read_language_model")


class FillerInputs(NamedTuple):
    """What a filler is made from.

    vocabulary: the statistics of the data set's captions.
    options: the values of the filler's own command-line options, {"weights": "bert-base"}.
    read_language_model: (folder) -> (jaxvl.models.masked_lm.MaskedLm, params). The caller hands it
      in, because reading published weights belongs to jaxvl.interop.
    """

    vocabulary: Vocabulary
    options: Mapping[str, Any]
    read_language_model: Callable[[str], tuple[Any, Any]]


class Option(NamedTuple):
    """A command-line option that a filler brings.

    name: "weights" for --weights, with underscores; not one that `jaxvl negatives` or
      negatives.json has already.
    default: its type is the type of the option.
    """

    name: str
    metavar: str
    meaning: str
    default: str | int | float = ""


class FillerComponent(NamedTuple):
    """A filler as FILLERS lists it.

    make: (FillerInputs) -> `Filler.prepare`. A function of a module, so that worker processes can
      import it.
    meaning: the source of its words, for --help.
    options: the command-line options that it brings.
    check: ({option: value}) -> None; raises UserError where the values cannot work.
    in_processes: whether each of --workers processes makes one; False where one uses all cores.
    """

    make: Callable[[FillerInputs], Prepare]
    meaning: str
    options: tuple[Option, ...] = ()
    check: Callable[[Mapping[str, Any]], None] = lambda options: None
    in_processes: bool = True


class ChosenFiller(NamedTuple):
    """A filler that was asked for, with the values of its options.

    It is hashable, and can be sent to another process. The fields are as in FillerComponent and
    FillerInputs.
    """

    name: str
    make: Callable[[FillerInputs], Prepare]
    options: tuple[tuple[str, Any], ...]
    in_processes: bool
    read_language_model: Callable[[str], tuple[Any, Any]]

    def with_vocabulary(self, vocabulary: Vocabulary) -> Filler:
        """Returns the Filler that puts in words of this vocabulary."""
        inputs = FillerInputs(vocabulary, dict(self.options), self.read_language_model)
        return Filler(self.name, self.make(inputs))
