"""Room beside the data set for what must be unpacked before it can be read in place."""

import bz2
import contextlib
import gzip
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxvl import files
from jaxvl.errors import UserError

_COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_CHUNK = 2**20
_MOST_TIMES, _MOST_MORE = 256, 64 * 2**20  # a file may become so many times, and bytes, larger


@contextlib.contextmanager
def room(out: Path | str) -> Iterator[Callable[[str], BinaryIO]]:
    """Yields a function that opens a new file, named after a label, in a folder beside `out`.

    The folder is made when it is first needed and removed at the end.
    Raises UserError where the disk is full.
    """
    folder = Path(out).absolute().parent / f".{Path(out).name}.unpacked"
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed

    def create(label: str) -> BinaryIO:
        files.make_folder(folder)
        return open(folder / f"{len(list(folder.iterdir()))}_{Path(label).name}", "wb")

    try:
        yield create
    except OSError as error:
        if not files.is_disk_full(error):
            raise
        raise UserError(f"{folder}: the disk is full; nothing was written") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unpacked(path: Path, label: str, create: Callable[[str], BinaryIO]) -> tuple[Path, str]:
    """Returns (path of the file's content without compression, why that is not all of it or "").

    create: of `room`. A file that is not compressed is its own content.
    """
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(_ZSTANDARD):
        return path, f"compressed by zstd, which is not read (unpack it: zstd -d {path.name})"
    opener = next((each for magic, each in _COMPRESSED.items() if head.startswith(magic)), None)
    if opener is None:
        return path, ""
    most = _MOST_TIMES * path.stat().st_size + _MOST_MORE
    with create(label) as content:
        try:
            with opener(path) as packed:
                while chunk := packed.read1(_CHUNK):  # what there is before damage
                    if content.tell() > most:
                        return Path(content.name), "unpacks to many times its size, as a bomb does"
                    content.write(chunk)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            return Path(content.name), f"damaged or cut off ({error})"
        except OSError as error:
            if files.is_disk_full(error):
                raise
            return Path(content.name), f"damaged or cut off ({error})"
    return Path(content.name), ""
