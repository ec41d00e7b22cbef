"""Hard negatives of captions: how they are made, and what training reads.

FILLERS names the sources of new words. A new one is a file with a FillerComponent and a line here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jaxvl.data.negatives.corpus_filler import CORPUS
from jaxvl.data.negatives.edits import KINDS
from jaxvl.data.negatives.filler import ChosenFiller, FillerComponent, Option, no_language_model
from jaxvl.data.negatives.mlm_filler import MLM
from jaxvl.data.negatives.storage import Negatives, open_negatives
from jaxvl.errors import UserError

__all__ = ["FILLERS", "KINDS", "Negatives", "choose_filler", "filler_options", "open_negatives"]

FILLERS: dict[str, FillerComponent] = {"corpus": CORPUS, "mlm": MLM}


def filler_options() -> dict[Option, list[str]]:
    """Returns the options of all fillers, each with the names of the fillers that take it."""
    takers: dict[Option, list[str]] = {}
    for name, component in FILLERS.items():
        for option in component.options:
            takers.setdefault(option, []).append(name)
    return takers


def choose_filler(
    name: str,
    given: Mapping[str, Any],
    *,
    read_language_model: Callable[[str], tuple[Any, Any]] = no_language_model,
) -> ChosenFiller:
    """Returns the filler of a name in FILLERS with its options.

    given: {option: value}; of other fillers only defaults. read_language_model: as in FillerInputs.
    Raises UserError for an unknown name, another filler's option, or values that cannot work.
    """
    if name not in FILLERS:
        raise UserError(f"--filler {name} is not one of {', '.join(FILLERS)}")
    component = FILLERS[name]
    options = {option.name: given.get(option.name, option.default) for option in component.options}
    for option, takers in filler_options().items():
        unused = option.name not in options
        if unused and given.get(option.name, option.default) != option.default:
            raise UserError(
                f"--{option.name} belongs to --filler {' or '.join(takers)}; --filler {name} takes "
                "no such option"
            )
    component.check(options)
    given_options = tuple(options.items())
    return ChosenFiller(
        name, component.make, given_options, component.in_processes, read_language_model
    )
