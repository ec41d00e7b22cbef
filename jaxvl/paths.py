"""Places of files and folders: on this machine, or in a bucket (gs://, s3://).

A place is a pathlib.Path on this machine and an etils Path in a bucket; both have the same methods,
so the code that reads and writes need not ask which it is. What differs in a bucket is here:
nothing can be renamed, appended to or locked there, an object is written whole or not at all, and
folders are but beginnings of names. jaxvl.copies brings files here that must lie on a disk.
"""

import contextlib
import importlib.util
import logging
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from jaxvl.errors import UserError

# etils would ask TensorFlow, which cannot reach s3:// nor a server other than Google's.
os.environ.setdefault("EPATH_USE_TF", "false")

LIBRARIES = {"gs": "gcsfs", "s3": "s3fs"}  # by scheme
EXTRAS = {"gs": "gcs", "s3": "s3"}  # of this package, that bring them
READ = ("gs", "s3")  # where data, benchmarks and weights may lie
WRITTEN = ("gs",)  # where a run may live: Orbax writes to no s3://
# gs:/bucket is what pathlib makes of gs://bucket.
_SCHEME = re.compile(r"(gs|s3)(?=:/)|([a-z][a-z0-9+.-]*)(?=://)", re.IGNORECASE)
_MODULES = ("gcsfs", "s3fs", "aiohttp", "aiobotocore", "botocore", "google.auth")


def scheme_of(place: Path | str) -> str:
    """Returns "gs" of gs://bucket/run; "" of a place on this machine."""
    found = _SCHEME.match(str(place))
    return found[0].lower() if found else ""


def check(what: str, place: Path | str, *, schemes: Sequence[str] = READ) -> None:
    """Raises UserError where a place is neither on this machine nor of one of the schemes.

    what: the flag or the key that names it. Raises it too where the library of a scheme is missing.
    """
    scheme = scheme_of(place)
    if not scheme:
        return
    if scheme not in schemes:
        others = "".join(f" or on {name}://" for name in schemes)
        raise UserError(
            f"{what}={place}: {scheme}:// is not supported here; give a place on this machine"
            f"{others}, such as a folder in which the bucket is mounted"
        )
    if not str(place).startswith(f"{scheme}://"):
        raise UserError(f"{what}={place}: write {scheme}://BUCKET/PLACE, as a str and not a Path")
    if importlib.util.find_spec(LIBRARIES[scheme]) is None:
        extra = EXTRAS[scheme]
        raise UserError(f"{what}={place} needs {LIBRARIES[scheme]}: pip install 'jaxvl[{extra}]'")


def of(place: Path | str, *, schemes: Sequence[str] = READ) -> Path:
    """Returns a place as a Path. Raises UserError as `check` does."""
    check("path", place, schemes=schemes)
    if not scheme_of(place):
        return Path(place)
    _prepare_fsspec()
    from etils import epath

    return cast(Path, epath.Path(str(place)))


def absolute(place: Path | str) -> Path:
    """Returns a place as a Path that does not depend on the folder that one is in."""
    return of(place) if scheme_of(place) else Path(place).resolve()


def filesystem(place: Path | str) -> Any:
    """Returns the fsspec filesystem of a place in a bucket."""
    import fsspec

    _prepare_fsspec()
    return fsspec.filesystem(scheme_of(place))


def _prepare_fsspec() -> None:
    """Has fsspec ask the bucket each time: others write there too, and Orbax by its own way.

    gcsfs logs at length what it raises anyway.
    """
    from fsspec.config import conf

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    for scheme in LIBRARIES:
        conf.setdefault(scheme, {}).setdefault("use_listings_cache", False)


@contextlib.contextmanager
def _named(place: Path) -> Iterator[None]:
    """Turns what a bucket answers into a UserError that names the place."""
    try:
        yield
    except FileExistsError:
        raise
    except Exception as error:
        told = reason(error) or (str(error) if isinstance(error, OSError) else None)
        if told is None:
            raise
        raise UserError(f"{place}: {told}") from error


def make(folder: Path) -> None:
    """Makes a folder and its parents; in a bucket they are there as soon as a file is."""
    if not scheme_of(folder):
        folder.mkdir(parents=True, exist_ok=True)


def files_below(folder: Path) -> list[Path]:
    """Returns all files in a folder and the folders in it, sorted."""
    scheme = scheme_of(folder)
    if not scheme:
        return sorted(path for path in folder.rglob("*") if path.is_file())
    return sorted(of(f"{scheme}://{name}") for name in filesystem(folder).find(str(folder)))


def remove(folder: Path) -> None:
    """Removes a folder, or what can be removed of it."""
    if not scheme_of(folder):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        filesystem(folder).rm(str(folder), recursive=True)


def move(folder: Path, target: Path) -> None:
    """Gives a folder another name: at once on this machine, file by file in a bucket."""
    if not scheme_of(folder):
        folder.rename(target)
    else:
        filesystem(folder).mv(str(folder), str(target), recursive=True)


def put(path: Path, content: bytes) -> None:
    """Writes an object in a bucket: a reader sees the old one or the new one, never half of it."""
    with _named(path):
        filesystem(path).pipe_file(str(path), content)


def create(path: Path, content: bytes) -> bool:
    """Writes an object in a bucket that is not there yet. Returns whether it was not there."""
    try:
        with _named(path):
            filesystem(path).pipe_file(str(path), content, mode="create")
    except FileExistsError:
        return False
    return True


def removal(folder: Path | str) -> str:
    """Returns the command that removes a folder, or an object in a bucket."""
    tool = {"": "rm -r", "gs": "gcloud storage rm -r", "s3": "aws s3 rm --recursive"}
    return f"{tool[scheme_of(folder)]} {shlex.quote(str(folder))}"


def reason(error: BaseException) -> str | None:
    """Returns what an exception says of a bucket; None where it comes from elsewhere."""
    if not type(error).__module__.startswith(_MODULES):
        return None
    said = str(error).strip().splitlines()
    return f"the bucket cannot be used ({said[0] if said else type(error).__name__})"
