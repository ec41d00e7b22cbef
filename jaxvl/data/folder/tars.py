"""Rows of webdataset tars: pictures with .txt or .json beside them, grouped by key.

Nothing is unpacked: members are found by their headers and read in place, so that a member's
name never becomes a path on disk.
"""

import glob
import json
import re
import tarfile
from pathlib import Path

from jaxvl.data.folder.rows import Problem, add_row, without_repeats
from jaxvl.data.images.untrusted import BadImage, Location
from jaxvl.errors import UserError

MAX_TEXT_BYTES = 2**20
_IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_CAPTION_KEYS = ("captions", "text", "caption")
# webdataset's own rule: the key is everything before the first dot of the last part.
_KEY = re.compile(r"((?:.*/|)[^./][^./]*)[.]([^/]*)", re.DOTALL)
_BLOCK = 512


def find(captions):
    """The tar files that --captions names: one, a folder of them, or a glob; sorted."""
    path = Path(captions)
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    return sorted(Path(found) for found in glob.glob(str(captions)) if found.endswith(".tar"))


def read(paths):
    """(rows, problems) of webdataset tars. A file_name is `shard.tar/member`."""
    if len({path.name for path in paths}) < len(paths):
        raise UserError("--captions: two tar files have the same name")
    rows, problems = [], []
    for path in paths:
        try:
            _read_tar(path, rows, problems)
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"--captions {path}: not a readable tar file ({error})") from error
    return without_repeats(rows, problems)


def _read_tar(path, rows, problems):
    groups = {}
    size = path.stat().st_size
    with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
        for member in tar:
            if not member.isdir():
                _add_member(groups, problems, path, size, member)
            tar.members = []  # tarfile remembers every member otherwise
        file.seek(tar.offset)
        ends_well = file.read(_BLOCK) == bytes(_BLOCK)
        for key, parts in groups.items():
            _add_group(rows, problems, path, file, key, parts)
    if not ends_well:
        reason = "the tar is damaged or cut off here: what follows cannot be read"
        problems.append(Problem(f"{path.name}:byte {tar.offset}", "", reason))


def _add_member(groups, problems, path, size, member):
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
        return  # file-system droppings and webdataset's own metadata are no records
    matched = _KEY.fullmatch(name)
    if not matched:
        problems.append(Problem(f"{path.name}/{name}", name, "no extension: of no record"))
        return
    key, extension = matched[1], matched[2].lower()
    if extension in groups.setdefault(key, {}):
        reason = f"duplicate .{extension} for one key"
        problems.append(Problem(f"{path.name}/{name}", name, reason))
        return
    groups[key][extension] = (name, member.offset_data, member.size)


def _add_group(rows, problems, path, file, key, parts):
    record = f"{path.name}/{key}"
    images = [extension for extension in _IMAGE_EXTENSIONS if extension in parts]
    try:
        if len(images) != 1:
            raise BadImage("more than one image for a key" if images else "no image for a key")
        fields = _fields(file, parts)
    except BadImage as error:
        problems.append(Problem(record, key, str(error)))
        return
    name, offset, size = parts[images[0]]
    fields["file_name"] = f"{path.name}/{name}"
    location = Location(str(path), offset, size)
    add_row(rows, problems, record=record, fields=fields, location=location)


def _fields(file, parts):
    """Captions and split of a record: from its .json where that has them, else from its .txt."""
    fields = {}
    if "json" in parts:
        try:
            fields = json.loads(_text(file, parts["json"]))
            if not isinstance(fields, dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise BadImage("its .json is not a JSON object") from None
    captioned = any(fields.get(key) is not None for key in _CAPTION_KEYS)
    if not captioned and "txt" in parts:
        fields["captions"] = [_text(file, parts["txt"])]
    return fields


def _text(file, part):
    _, offset, size = part
    if size > MAX_TEXT_BYTES:
        raise BadImage(f"its text is larger than {MAX_TEXT_BYTES // 2**20} MiB")
    file.seek(offset)
    try:
        return file.read(size).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise BadImage("not valid Unicode text") from None
