"""Copies on this machine of files in a bucket, for code that needs them on a disk.

They lie in CACHE, under the names that they have in the bucket, and are made anew where the size or
the time of the object differs. Each object is written whole or not at all.
"""

import base64
import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxvl import paths
from jaxvl.errors import UserError

VARIABLE = "JAXVL_CACHE"  # of the environment: another folder for CACHE
CACHE = "~/.cache/jaxvl"
TOLD_FROM = 10_000_000  # bytes; of less nothing is said
AT_ONCE = 16  # files

Objects = Mapping[str, Mapping[str, Any]]  # {name below the place: what the bucket says of it}


def local(place: Path | str, *, only: Collection[str] | None = None) -> Path:
    """Returns a file or folder on this machine: itself, or a copy of what lies in a bucket.

    only: names of the files of a folder that are needed, where they are there; None for all.
    Processes of one machine share the copies, and wait for the one that makes them.
    Raises UserError where there is nothing, a copy is not what the bucket has, or the disk is full.
    """
    if not paths.scheme_of(place):
        return Path(place)
    paths.check("path", place)
    name = str(place).rstrip("/")
    filesystem = paths.filesystem(name)
    objects = _objects(filesystem, name, only)
    target = _folder() / name.replace("://", "/")
    with _alone(target):
        stale = {key: about for key, about in objects.items() if not _same(target / key, about)}
        if stale:
            _copy(filesystem, name, target, stale)
    return target


def _folder() -> Path:
    return Path(os.environ.get(VARIABLE, CACHE)).expanduser()


def _objects(filesystem: Any, name: str, only: Collection[str] | None) -> Objects:
    """Returns the Objects of a place; of a file the only key is "".

    Raises UserError where there are none, and for a name that leads out of the folder.
    """
    root = name.partition("://")[2]
    found = filesystem.find(name, detail=True)
    objects = {
        path.removeprefix(root).lstrip("/"): about
        for path, about in found.items()
        if path == root or path.startswith(f"{root}/")
    }
    if not objects:
        raise UserError(f"{name}: nothing is there")
    for key in objects:
        if key and any(part in ("", ".", "..") for part in key.split("/")):
            raise UserError(f"{name}: the name of {key!r} leads out of the folder")
    return {key: about for key, about in objects.items() if not only or not key or key in only}


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Waits until no other process of this machine copies to `target`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); {VARIABLE} in the environment names "
            "another folder for copies"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _nanoseconds(about: Mapping[str, Any]) -> int:
    """Returns the time of an object in whole microseconds, which every disk can hold."""
    return round((about.get("mtime") or about["LastModified"]).timestamp() * 1e6) * 1000


def _same(path: Path, about: Mapping[str, Any]) -> bool:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (found.st_size, found.st_mtime_ns) == (about["size"], _nanoseconds(about))


def _copy(filesystem: Any, name: str, target: Path, objects: Objects) -> None:
    size = sum(about["size"] for about in objects.values())
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise UserError(
            f"{name}: a copy takes {_gigabytes(size)}, {_gigabytes(free)} are free at "
            f"{target.parent}; {VARIABLE} in the environment names another folder"
        )
    told = size >= TOLD_FROM
    if told:
        what = f"{len(objects)} files, {_gigabytes(size)}"
        print(f"copying {what}, of {name} to {target}", file=sys.stderr, flush=True)
    keys = iter(objects)
    with tqdm(total=size, unit="B", unit_scale=True, disable=None if told else True) as bar:
        while some := list(itertools.islice(keys, AT_ONCE)):
            partial = {key: _partial(target, key) for key in some}
            filesystem.get([f"{name}/{key}".rstrip("/") for key in some], list(partial.values()))
            for key, path in partial.items():
                _settle(path, target / key, objects[key], of=f"{name}/{key}")
                bar.update(objects[key]["size"])


def _partial(target: Path, key: str) -> str:
    path = target / key
    path.parent.mkdir(parents=True, exist_ok=True)
    return str(path.with_name(f".{path.name}.partial"))


def _settle(partial: str, path: Path, about: Mapping[str, Any], *, of: str) -> None:
    """Gives a copy its name. Raises UserError where it is not what the bucket has."""
    with open(partial, "rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
    wanted = about.get("md5Hash", found)  # not known of an object made of parts, nor on s3://
    if os.path.getsize(partial) != about["size"] or found != wanted:
        os.remove(partial)
        raise UserError(f"{of}: the copy is not what the bucket has; give the command again")
    time = _nanoseconds(about)
    os.utime(partial, ns=(time, time))
    os.replace(partial, path)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
