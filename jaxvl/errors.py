"""What a user can put right, and what the commands print as one line."""

from typing import Any


class UserError(Exception):
    """Something the user can put right; the message names the key, path or record and the fix."""


def require_model(config: Any, name: str) -> None:
    """Raises UserError where a method of model `name` meets another model."""
    require(
        config.model.name == name,
        f"method={config.method!r} trains model.name={name!r}, not {config.model.name!r}",
    )


def require(holds: object, message: str) -> None:
    """Raises UserError about the configuration where `holds` is false."""
    if not holds:
        raise UserError(f"config: {message}")
