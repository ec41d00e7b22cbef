"""Files that grow while a run writes them, on this machine or in a bucket, which cannot append."""

import tempfile
import time
from pathlib import Path
from typing import Protocol

from jaxvl import files, paths

MERGED_AT = 512  # parts
SENT_EVERY = 60.0  # seconds


class Lines(Protocol):
    """A text file that lines are added to."""

    def write(self, text: str, /) -> object:
        """Adds a line, with its end."""

    def flush(self) -> object:
        """Returns when what was added cannot be lost any more."""

    def close(self) -> object:
        """Ends the file."""


def add_lines(path: Path) -> Lines:
    """Opens a text file to add lines: in a bucket each is a part of its own, until they are merged.

    `merge` must have been called before.
    """
    return _Parts(path) if paths.scheme_of(path) else path.open("a")


def merge(path: Path) -> None:
    """Makes one file of what a killed run has left in parts; nothing to do on this machine."""
    if paths.scheme_of(path):
        found = _parts_of(path)
        if found:
            _merge(path, found)


class _Parts:
    """PATH.parts/NUMBER, each with a line that is not yet in PATH."""

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0

    def write(self, text: str) -> None:
        self._count += 1
        paths.put(_folder(self._path) / f"{self._count:09d}", text.encode())
        if self._count == MERGED_AT:
            self.close()

    def flush(self) -> None:
        """Nothing is left to send."""

    def close(self) -> None:
        merge(self._path)
        self._count = 0


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.parts")


def _parts_of(path: Path) -> list[Path]:
    return paths.files_below(_folder(path))


def _merge(path: Path, parts: list[Path]) -> None:
    """Adds the parts to the file, and removes them; killed in between, it adds none twice."""
    whole = path.read_bytes().decode() if path.exists() else ""
    known = set(whole.splitlines())
    read = paths.filesystem(path).cat([str(part) for part in parts])
    added = [read[name].decode() for name in sorted(read)]
    files.write_text(path, whole + "".join(line for line in added if line.rstrip() not in known))
    paths.remove(_folder(path))


class Twin:
    """A file on this machine whose content goes to a bucket once a minute, and at the end.

    local: where to write it: `path` itself where that is on this machine.
    """

    def __init__(self, path: Path) -> None:
        """path: where it belongs."""
        self._path, self._folder, self.local = path, None, path
        if paths.scheme_of(path):
            self._folder = tempfile.TemporaryDirectory(prefix="jaxvl_")
            self.local = Path(self._folder.name) / path.name
        self._sent = time.monotonic()

    def flush(self) -> None:
        """Sends the content where the last time was a minute ago."""
        if self._folder and time.monotonic() - self._sent >= SENT_EVERY:
            self._send()

    def close(self) -> None:
        """Sends the content."""
        if self._folder:
            with self._folder:
                self._send()

    def _send(self):
        paths.put(self._path, self.local.read_bytes())
        self._sent = time.monotonic()
