"""Rows of webdataset tars: images with .txt or .json beside them, grouped by key.

Members are found by their headers and read in place, so a member's name never becomes a path on
disk. Only a compressed tar is unpacked, as one file.
"""

import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jaxvl.data import text_files
from jaxvl.data.folder import rows, unpack
from jaxvl.data.folder.rows import Found, Problem, Record
from jaxvl.data.images import kinds
from jaxvl.data.images.untrusted import BadImage, Location
from jaxvl.errors import UserError
from jaxvl.files import is_disk_full

MAX_TEXT_BYTES = 2**20
_TEXTS = ("txt", "json")
_IMAGES = frozenset(kinds.EXTENSIONS)
_BLOCK = 512


class Member(NamedTuple):
    """A file in a tar: its name, and where its bytes are."""

    name: str
    offset: int
    length: int


Groups = dict[str, dict[str, Member]]  # key -> extension -> member


def read(files: Mapping[str, Path], create: Callable[[str], BinaryIO]) -> Found:
    """Returns the rows and problems of webdataset tars. A file_name is `shard.tar/member`.

    files: {label: path}. create: of `unpack.room`. A tar that is empty, damaged or cut off is a
    problem; Raises UserError where it is the only one.
    """
    found = rows.nothing()
    for label, path in files.items():
        reason = ""
        try:
            content, reason = unpack.unpacked(path, label, create)
            _read_tar(found, label, content)
        except (OSError, tarfile.TarError) as error:
            if is_disk_full(error):
                raise
            reason = reason if path.stat().st_size else "an empty file, as of a broken download"
            reason = f"not a readable tar file ({reason or error})"
            if len(files) == 1:
                raise UserError(f"--captions {path}: {reason}") from error
        if reason:
            found.problems.append(Problem(label, "", reason))
    rows.without_repeats(found)
    return found


def _read_tar(found: Found, label: str, path: Path) -> None:
    members: dict[str, Member] = {}
    size = path.stat().st_size
    with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
        try:
            for member in tar:
                if not member.isdir():
                    _add_member(found, members, label, size, member)
                # Otherwise tarfile keeps every member in memory.
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]
            file.seek(tar.offset)
            ends_well = file.read(_BLOCK) == bytes(_BLOCK)
        except tarfile.TarError:
            ends_well = False
        for key, parts in _groups(found, label, members).items():
            _add_group(found, label, path, file, key, parts)
    if not ends_well:
        reason = "the tar is damaged or truncated here: the rest of it cannot be read"
        found.problems.append(Problem(f"{label}:byte {tar.offset}", "", reason))


def _add_member(
    found: Found, members: dict[str, Member], label: str, size: int, member: tarfile.TarInfo
) -> None:
    name = member.name
    reason = None
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        reason = "the path leaves the folder"
    elif not member.isreg() or member.issparse():
        reason = "not a regular file (links are not followed)"
    elif member.offset_data + member.size > size:
        reason = "truncated or damaged"
    elif name in members:
        reason = f"duplicate .{_at_last_dot(name)[1]} for one key"
    if reason:
        found.problems.append(Problem(f"{label}/{name}", name, reason))
        return
    if not name.rsplit("/", 1)[-1].startswith((".", "__")):
        # Others are left by a file system, or are webdataset's own metadata: no record.
        members[name] = Member(name, member.offset_data, member.size)


def _groups(found: Found, label: str, members: Mapping[str, Member]) -> Groups:
    """Returns the members by key and extension.

    webdataset's key is everything before the first dot of the last part. But where an image and a
    text have the same name up to the last dot, as 22.05.jpg and 22.05.txt, that is their key.
    """
    by_stem: dict[str, set[str]] = {}
    for name in members:
        stem, extension = _at_last_dot(name)
        by_stem.setdefault(stem, set()).add(extension)
    groups: Groups = {}
    for name, member in members.items():
        key, extension = _at_first_dot(name)
        if not extension:
            reason = "no extension: of no record"
            found.problems.append(Problem(f"{label}/{name}", name, reason))
            continue
        stem, last = _at_last_dot(name)
        if last in (*kinds.EXTENSIONS, *_TEXTS) and _is_pair(by_stem[stem]):
            key, extension = stem, last
        if extension in groups.setdefault(key, {}):
            reason = f"duplicate .{extension} for one key"
            found.problems.append(Problem(f"{label}/{name}", name, reason))
        else:
            groups[key][extension] = member
    return groups


def _is_pair(extensions: set[str]) -> bool:
    return not extensions.isdisjoint(_TEXTS) and not extensions.isdisjoint(kinds.EXTENSIONS)


def _at_last_dot(name: str) -> tuple[str, str]:
    folder, slash, last = name.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    return (f"{folder}{slash}{stem}", extension.lower()) if dot else (name, "")


def _at_first_dot(name: str) -> tuple[str, str]:
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _add_group(
    found: Found,
    label: str,
    path: Path,
    file: BinaryIO,
    key: str,
    parts: dict[str, Member],
) -> None:
    record = f"{label}/{key}"
    images = [extension for extension in kinds.EXTENSIONS if extension in parts]
    try:
        if not images:
            _add_dotted(found, label, key, parts)
            return
        if len(images) > 1:
            raise BadImage("more than one image for a key")
        row = _record(found, file, parts)
    except BadImage as error:
        found.problems.append(Problem(record, key, str(error)))
        return
    image = parts[images[0]]
    row = row._replace(file_name=f"{label}/{image.name}")
    location = Location(str(path), image.offset, image.length)
    rows.add_row(found, record=record, row=row, location=location)


def _add_dotted(found: Found, label: str, key: str, parts: dict[str, Member]) -> None:
    """Adds the problem of a key without image: its images with a dot in their names, each alone."""
    dotted = [part for extension, part in parts.items() if _at_last_dot(extension)[1] in _IMAGES]
    for part in dotted:
        reason = (
            "no caption of the same name (webdataset takes what stands before the first dot for "
            f"the name: {key})"
        )
        found.problems.append(Problem(f"{label}/{part.name}", part.name, reason))
    if not dotted:
        named = ", ".join(part.name for part in parts.values())
        found.problems.append(Problem(f"{label}/{key}", key, f"no image for a key (only {named})"))


def _record(found: Found, file: BinaryIO, parts: dict[str, Member]) -> Record:
    """Returns the Record of the .json, with the captions of the .txt where that has none."""
    fields: Any = {}
    if "json" in parts:
        text = _text(file, parts["json"])
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise BadImage("its .json is not a JSON object")
    row = rows.record_of(found, fields)
    if row.captions is None and "txt" in parts:
        row = row._replace(captions=_text(file, parts["txt"]).strip())
    return row


def _text(file: BinaryIO, part: Member) -> str:
    if part.length > MAX_TEXT_BYTES:
        raise BadImage(f"its text is larger than {MAX_TEXT_BYTES // 2**20} MiB")
    file.seek(part.offset)
    content = file.read(part.length)
    try:
        return content.decode(text_files.encoding(content))
    except UnicodeDecodeError:
        raise BadImage("not valid Unicode text") from None
