"""Errors that a user can put right; the commands print them as one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_collections import ConfigDict


# What a terminal obeys and does not show: control characters, line breaks, marks that turn the
# direction of writing, halves of pairs.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class UserError(Exception):
    """An error that the user can put right.

    The message names the key, the path or the record, and says what to do. As a string it is one
    line that can be printed.
    """

    def __str__(self) -> str:
        return printable(" ".join(super().__str__().split()))


def printable(text: str, *, keep: str = "") -> str:
    """Returns a text, of a file perhaps, that a terminal shows and does not obey.

    Control characters and line breaks become escapes such as \\x1b. keep: those that stay.
    """

    def escaped(found: re.Match[str]) -> str:
        character = found[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return _CONTROLS.sub(escaped, text)


def require_model(config: ConfigDict, name: str) -> None:
    """Raises UserError if the method, which trains the model `name`, is given another model."""
    require(
        config.model.name == name,
        f"method={config.method!r} trains model.name={name!r}, not {config.model.name!r}",
    )


def require(holds: object, message: str) -> None:
    """Raises UserError with a message about the configuration if `holds` is false."""
    if not holds:
        raise UserError(f"config: {message}")
