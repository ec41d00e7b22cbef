"""Files and folders written whole or not at all: a reader sees the old one or the new one."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxvl import paths
from jaxvl.errors import UserError

_STORAGE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ESTALE)


def write_json(path: Path | str, value: Any) -> None:
    """Writes a value as JSON; a reader sees the old file or the new one, never half of it.

    Raises UserError where the file cannot be written.
    """
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> dict[str, Any]:
    """Returns the object in a JSON file. Raises UserError naming a file that holds none."""
    try:
        value = json.loads(paths.of(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # of JSON, and of an encoding
        raise UserError(f"{path}: damaged, this is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged, this is not a JSON object")
    return value


def write_text(path: Path | str, text: str) -> None:
    """Writes a text in UTF-8; a reader sees the old file or the new one, never half of it.

    Raises UserError where the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes bytes; a reader sees the old file or the new one, never half of it.

    Raises UserError where the file cannot be written.
    """
    path = paths.of(path)
    if paths.scheme_of(path):  # a bucket writes an object whole or not at all
        paths.put(path, content)
        return
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):  # gone already where all went well
            temporary.unlink()


def make_folder(path: Path | str) -> None:
    """Makes a folder and its parents where they do not exist. Raises UserError where it cannot."""
    try:
        paths.make(paths.of(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror})") from error


def plain(value: Any) -> Any:
    """Returns the value with nan and inf, which JSON does not have, as strings "nan" and "inf"."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def is_filled(directory: Path | str) -> bool:
    """Returns whether something is at `directory` that must not be overwritten."""
    directory = Path(directory)
    if not directory.exists():
        return directory.is_symlink()
    return not directory.is_dir() or any(directory.iterdir())


@contextlib.contextmanager
def written_whole(directory: Path | str) -> Iterator[Path]:
    """Yields a temporary folder beside `directory`, which takes its name at the end.

    Where the block raises, the temporary folder is removed and `directory` is not made.
    Raises UserError where `directory` is not empty, cannot be written, or the disk is full.
    """
    directory = Path(directory)
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
def locked_partial(directory: Path | str) -> Iterator[Path]:
    """Yields the hidden folder beside `directory` in which its content is made.

    Only one process at a time holds it. Raises UserError where another one does, or where the
    folder cannot be made.
    """
    directory = Path(directory)
    partial = directory.parent / f".{directory.name}.partial"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock = os.open(partial, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror})") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed process releases it
        except BlockingIOError:
            raise UserError(f"{directory}: another process is writing it") from None
        yield partial
    finally:
        os.close(lock)


@contextlib.contextmanager
def locked(path: Path | str, message: str) -> Iterator[None]:
    """Holds the lock file `path`, which it makes; a killed process lets go of it.

    Raises UserError with the message, and who holds it, where another process does.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 200).decode("utf-8", "replace")
            raise UserError(f"{message} ({holder})" if holder else message) from None
        except OSError:  # a file system without locks
            pass
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield
    finally:
        os.close(lock)


def digest(folder: Path | str) -> str:
    """Returns the SHA-256 of the names and contents of all files in a folder, as hexadecimals.

    Raises OSError where one cannot be read.
    """
    folder, total = paths.of(folder), hashlib.sha256()
    for path in paths.files_below(folder):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()


@contextlib.contextmanager
def storage_named(directory: Path | str, then: Callable[[], str]) -> Iterator[None]:
    """Turns what a full, read-only or broken disk raises into a UserError that names `directory`.

    then: what to say behind it, asked when it has happened.
    """
    try:
        yield
    except Exception as error:
        reason = storage_reason(error)
        if reason is None:
            raise
        raise UserError(f"{directory}: {reason}; {then()}") from error


def storage_reason(error: BaseException | None) -> str | None:
    """Returns what an exception, or its cause, says of the disk; None for nothing."""
    if error is None:
        return None
    if is_disk_full(error):
        return "the disk is full"
    if told := paths.reason(error):
        return told
    for number in _STORAGE:
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
            return os.strerror(number)
    return storage_reason(error.__cause__ or error.__context__)


def is_disk_full(error: BaseException | None) -> bool:
    """Returns whether an exception, or one that caused it, says that the disk is full."""
    if error is None:
        return False
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    told = "No space left on device" in str(error) or "quota exceeded" in str(error)
    return full or told or is_disk_full(error.__cause__ or error.__context__)
