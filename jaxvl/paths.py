"""Places of files and folders: on this machine, or in a bucket (gs://, s3://).

A bucket is refused wherever it cannot be used, before anything is read or written.
"""

import re
from pathlib import Path

from jaxvl.errors import UserError

# gs:/bucket is what pathlib makes of gs://bucket.
_SCHEME = re.compile(r"(gs|s3)(?=:/)|([a-z][a-z0-9+.-]*)(?=://)", re.IGNORECASE)


def scheme_of(place: Path | str) -> str:
    """Returns "gs" of gs://bucket/run; "" of a place on this machine."""
    found = _SCHEME.match(str(place))
    return found[0].lower() if found else ""


def check(what: str, place: Path | str) -> None:
    """Raises UserError where a place is neither a file nor a folder of this machine.

    what: the flag or the key that names it.
    """
    scheme = scheme_of(place)
    if scheme:
        raise UserError(
            f"{what}={place}: {scheme}:// is not supported; give a folder of this machine, such as "
            "one in which the bucket is mounted"
        )


def of(place: Path | str) -> Path:
    """Returns a place as a Path. Raises UserError where it is not on this machine."""
    check("path", place)
    return Path(place)
