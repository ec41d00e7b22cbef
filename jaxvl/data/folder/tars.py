"""Rows of webdataset tars: images with .txt or .json beside them, grouped by key.

Nothing is unpacked. Members are found by their headers and read in place, so a member's name never
becomes a path on disk.
"""

import glob
import json
import re
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jaxvl.data.folder.rows import CAPTION_KEYS, Found, Problem, Row, add_row, without_repeats
from jaxvl.data.images.untrusted import BadImage, Location
from jaxvl.errors import UserError

MAX_TEXT_BYTES = 2**20
_IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
# webdataset's own rule: the key is everything before the first dot of the last part.
_KEY = re.compile(r"((?:.*/|)[^./][^./]*)[.]([^/]*)", re.DOTALL)
_BLOCK = 512


class Member(NamedTuple):
    """A file in a tar: its name, and where its bytes are."""

    name: str
    offset: int
    length: int


Groups = dict[str, dict[str, Member]]  # key -> extension -> member


def find(captions: Path | str) -> list[Path]:
    """Returns the tar files that --captions names, sorted: one, a folder of them, or a glob."""
    path = Path(captions)
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    return sorted(Path(found) for found in glob.glob(str(captions)) if found.endswith(".tar"))


def read(paths: list[Path]) -> Found:
    """Returns the rows and problems of webdataset tars. A file_name is `shard.tar/member`.

    Raises UserError where a file is no tar, or two have the same name.
    """
    if len({path.name for path in paths}) < len(paths):
        raise UserError("--captions: two tar files have the same name")
    rows: list[Row] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            _read_tar(path, rows, problems)
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"--captions {path}: not a readable tar file ({error})") from error
    return without_repeats(rows, problems)


def _read_tar(path: Path, rows: list[Row], problems: list[Problem]) -> None:
    groups: Groups = {}
    size = path.stat().st_size
    with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
        for member in tar:
            if not member.isdir():
                _add_member(groups, problems, path, size, member)
            # Otherwise tarfile keeps every member in memory.
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]
        file.seek(tar.offset)
        ends_well = file.read(_BLOCK) == bytes(_BLOCK)
        for key, parts in groups.items():
            _add_group(rows, problems, path, file, key, parts)
    if not ends_well:
        reason = "the tar is damaged or truncated here: the rest of it cannot be read"
        problems.append(Problem(f"{path.name}:byte {tar.offset}", "", reason))


def _add_member(
    groups: Groups, problems: list[Problem], path: Path, size: int, member: tarfile.TarInfo
) -> None:
    name = member.name
    reason = None
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        reason = "the path leaves the folder"
    elif not member.isreg() or member.issparse():
        reason = "not a regular file (links are not followed)"
    elif member.offset_data + member.size > size:
        reason = "truncated or damaged"
    if reason:
        problems.append(Problem(f"{path.name}/{name}", name, reason))
        return
    last = name.rsplit("/", 1)[-1]
    if last.startswith((".", "__")):
        return  # left by a file system, or webdataset's own metadata: no record
    matched = _KEY.fullmatch(name)
    if not matched:
        problems.append(Problem(f"{path.name}/{name}", name, "no extension: of no record"))
        return
    key, extension = matched[1], matched[2].lower()
    if extension in groups.setdefault(key, {}):
        reason = f"duplicate .{extension} for one key"
        problems.append(Problem(f"{path.name}/{name}", name, reason))
        return
    groups[key][extension] = Member(name, member.offset_data, member.size)


def _add_group(
    rows: list[Row],
    problems: list[Problem],
    path: Path,
    file: BinaryIO,
    key: str,
    parts: dict[str, Member],
) -> None:
    record = f"{path.name}/{key}"
    images = [extension for extension in _IMAGE_EXTENSIONS if extension in parts]
    try:
        if len(images) != 1:
            raise BadImage("more than one image for a key" if images else "no image for a key")
        fields = _fields(file, parts)
    except BadImage as error:
        problems.append(Problem(record, key, str(error)))
        return
    image = parts[images[0]]
    fields["file_name"] = f"{path.name}/{image.name}"
    location = Location(str(path), image.offset, image.length)
    add_row(rows, problems, record=record, fields=fields, location=location)


def _fields(file: BinaryIO, parts: dict[str, Member]) -> dict[str, Any]:
    """Returns captions and split of a record, from its .json or, without captions, its .txt."""
    fields: dict[str, Any] = {}
    if "json" in parts:
        try:
            fields = json.loads(_text(file, parts["json"]))
            if not isinstance(fields, dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise BadImage("its .json is not a JSON object") from None
    captioned = any(fields.get(key) is not None for key in CAPTION_KEYS)
    if not captioned and "txt" in parts:
        fields["captions"] = [_text(file, parts["txt"])]
    return fields


def _text(file: BinaryIO, part: Member) -> str:
    if part.length > MAX_TEXT_BYTES:
        raise BadImage(f"its text is larger than {MAX_TEXT_BYTES // 2**20} MiB")
    file.seek(part.offset)
    try:
        return file.read(part.length).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise BadImage("not valid Unicode text") from None
