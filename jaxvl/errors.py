"""Errors that a user can put right; the commands print them as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_collections import ConfigDict


class UserError(Exception):
    """An error that the user can put right.

    The message names the key, the path or the record, and says what to do.
    """


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
