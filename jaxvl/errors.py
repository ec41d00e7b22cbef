"""The one exception for what a user can put right."""


class UserError(ValueError):
    """A mistake in input, named with what to do; command lines print it as one line and exit 2."""
