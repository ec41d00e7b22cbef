"""Downloads files: with progress, continued where it stopped, and checked by their digests."""

import hashlib
import http.client
import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from jaxvl import files
from jaxvl.errors import UserError

TRIES, SECONDS, CHUNK = 5, 60, 1 << 20
_FAILURES = (OSError, http.client.HTTPException)  # urllib's own errors are OSErrors


class Remote(NamedTuple):
    """A file on a server.

    size: in bytes. digest: hexadecimal SHA-256, or SHA-1 as git makes it where there are 40 digits.
    """

    url: str
    size: int
    digest: str


def read_json(url: str) -> Any:
    """Returns what a server answers as JSON. Raises UserError where it cannot be reached."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return json.load(answer)
    except (*_FAILURES, ValueError) as error:
        raise _unreachable(url, error) from error


def check_room(folder: Path, remotes: Iterable[tuple[Remote, Path]], *, more: int) -> None:
    """Raises UserError where the disk has no room for what is not there yet, and `more` bytes."""
    needed = more + sum(remote.size - _present(path) for remote, path in remotes)
    files.make_folder(folder)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: the disk has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are "
            "needed; make room or choose another place"
        )


def download(remote: Remote, path: Path) -> Path:
    """Downloads a file to `path`, where it is not there yet, and returns `path`.

    What an earlier attempt left in PATH.part is continued. Raises UserError where the server cannot
    be reached, the file is not what it should be, or the disk is full.
    """
    if path.exists():  # it got its name when its digest was right
        return path
    part = _part(path)
    with files.storage_named(path, lambda: "give the same command again to continue"):
        with tqdm(
            total=remote.size, desc=path.name, unit="B", unit_scale=True, disable=None
        ) as bar:
            _fill(remote, part, bar)
        if _digest(part, remote.digest) != remote.digest:
            part.unlink()
            raise UserError(
                f"{remote.url}: the file has another digest than the published one, and was "
                "removed; give the same command again"
            )
        part.rename(path)
    return path


def _fill(remote, part, bar):
    """Downloads until the file has its size; several times where the connection breaks."""
    failures, before = 0, -1
    while _size(part) < remote.size:
        failures = failures + 1 if _size(part) == before else 0
        before = _size(part)
        try:
            _continue(remote, part, bar)
        except _FAILURES as error:
            if files.storage_reason(error):
                raise
            if failures + 1 >= TRIES or _is_final(error):
                raise _unreachable(remote.url, error) from error
            time.sleep(failures)
    if _size(part) > remote.size:
        part.unlink()
        raise UserError(f"{remote.url}: larger than the published file, and was removed")


def _continue(remote, part, bar):
    start = _size(part)
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={start}-"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        continues = answer.status == http.client.PARTIAL_CONTENT
        with part.open("ab" if continues else "wb") as file:
            bar.n = start if continues else 0
            while content := answer.read(CHUNK):
                file.write(content)
                bar.update(len(content))
                if file.tell() > remote.size:
                    return
    if _size(part) == start:
        raise http.client.IncompleteRead(b"", remote.size - start)


def _is_final(error):
    """Whether trying again at once cannot help: no network, no such server, no such file."""
    reason = getattr(error, "reason", None)
    is_refused = isinstance(reason, socket.gaierror | ConnectionRefusedError)
    return isinstance(error, urllib.error.HTTPError) or is_refused


def _unreachable(url, error):
    reason = getattr(error, "reason", None) or error
    return UserError(
        f"{url} cannot be reached ({reason}); is there a network? The same command continues "
        "where it stopped"
    )


def _present(path):
    return _size(path) or _size(_part(path))


def _part(path):
    return path.with_name(f"{path.name}.part")


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _digest(path, like):
    if len(like) == 40:
        total = hashlib.sha1(f"blob {_size(path)}\0".encode(), usedforsecurity=False)
    else:
        total = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(CHUNK):
            total.update(content)
    return total.hexdigest()
