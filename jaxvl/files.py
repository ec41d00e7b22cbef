"""Files and folders written whole or not at all: a reader sees the old one or the new one."""

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
from pathlib import Path

from jaxvl.errors import UserError


def write_json(path, value):
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Writes a text so that a reader sees the old file or the new one, never half of it."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes bytes so that a reader sees the old file or the new one, never half of it."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def plain(value):
    """Returns the value with what JSON cannot say (nan, inf) as the strings "nan" and "inf"."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def is_filled(directory):
    """Whether something stands at `directory` that must not be overwritten."""
    directory = Path(directory)
    if not directory.exists():
        return directory.is_symlink()
    return not directory.is_dir() or any(directory.iterdir())


@contextlib.contextmanager
def written_whole(directory):
    """A temporary sibling of `directory` that takes its name at the end, or vanishes."""
    if is_filled(directory):
        raise UserError(f"{directory}: exists and is not empty; name another --out or remove it")
    with locked_partial(directory) as partial:
        try:
            for left_over in partial.iterdir():
                shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
            yield partial
            os.replace(partial, directory)
        except Exception as error:
            if is_disk_full(error):
                raise UserError(f"{directory}: the disk is full; nothing was written") from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked_partial(directory):
    """The hidden sibling of `directory` that its content is made in, by one process at a time."""
    partial = directory.parent / f".{directory.name}.partial"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock = os.open(partial, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror})") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed process lets go of it
        except BlockingIOError:
            raise UserError(f"{directory}: another process is writing it") from None
        yield partial
    finally:
        os.close(lock)


def is_disk_full(error):
    """Whether an exception of whatever library, or what it came from, says there is no room."""
    if error is None:
        return False
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    told = "No space left on device" in str(error) or "quota exceeded" in str(error)
    return full or told or is_disk_full(error.__cause__ or error.__context__)
