"""Rows of parquet files that hold the images themselves, as img2dataset and Hugging Face write."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from jaxvl.data.folder import columns, rows
from jaxvl.data.folder.rows import Found, Problem
from jaxvl.data.images import kinds
from jaxvl.data.images.untrusted import Location
from jaxvl.errors import UserError

_ROWS_AT_ONCE = 256
_IMAGES = ("image", "img", "image_bytes", "bytes", *kinds.EXTENSIONS)
_NAMES = ("key", "image_id", "id")


def read(files: Mapping[str, Path], images: str, create: Callable[[str], BinaryIO]) -> Found:
    """Returns the rows and problems of parquet files.

    files: {label: path}. images: the folder that file names are relative to, "" for none; a table
    with a column of encoded images needs none. create: of `unpack.room`, where these go.
    A file that cannot be read is a problem. Raises UserError where it is the only one, and where
    columns are missing.
    """
    import pyarrow
    import pyarrow.parquet

    found = rows.nothing()
    for label, path in files.items():
        try:
            table = pyarrow.parquet.ParquetFile(path)
            _read_one(found, label, path, table, images, create)
        except (OSError, pyarrow.ArrowException) as error:
            reason = f"not a readable parquet file ({error})"
            if len(files) == 1:
                raise UserError(f"--captions {path}: {reason}") from None
            found.problems.append(Problem(label, "", reason))
    rows.without_repeats(found)
    return found


def _read_one(
    found: Found,
    label: str,
    path: Path,
    table: Any,
    images: str,
    create: Callable[[str], BinaryIO],
) -> None:
    names = list(table.schema_arrow.names)
    there = columns.choose(tuple(names))
    image = next((name for name in names if _holds_images(table.schema_arrow.field(name))), "")
    if not there.captions or not (image or there.file):
        raise UserError(
            f"--captions {path}: needed are a column of encoded images, or file_name, and "
            f"captions; found: {columns.quoted(names)} (of img2dataset, give the tars)"
        )
    if not image and not images:
        raise UserError(f"--captions {path}: has no column of encoded images: --images is needed")
    key = next((name for name in _NAMES if name in names), "")
    wanted = {there.file, image, key, there.split, "status"} & set(names)
    found.unused.update(dict.fromkeys(name for name in there.unused if name not in wanted))
    number = 0
    with create(label) as content:
        for batch in table.iter_batches(_ROWS_AT_ONCE, columns=[*wanted, *there.captions]):
            for fields in batch.to_pylist():
                record = f"{label}:{number}"
                number += 1
                _add(found, record, fields, image, fields.get(key), images, content)


def _holds_images(field: Any) -> bool:
    import pyarrow

    kind = field.type
    if pyarrow.types.is_struct(kind):  # of Hugging Face: {"bytes": ..., "path": ...}
        return any(kind.field(at).name == "bytes" for at in range(kind.num_fields))
    is_bytes = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    return is_bytes and field.name.lower() in _IMAGES


def _add(
    found: Found,
    record: str,
    fields: dict[str, Any],
    image: str,
    key: Any,
    images: str,
    content: BinaryIO,
) -> None:
    """Adds one row; its image goes to the file `content`."""
    used = (image, "status", *_NAMES)
    row = rows.record_of(found, {name: fields[name] for name in fields if name not in used})
    if not image:
        row = row._replace(file_name=str(row.file_name or ""))
        rows.add_row(found, record=record, row=row, images=images)
        return
    value = fields[image]
    path = None
    if isinstance(value, dict):
        path, value = value.get("path"), value.get("bytes")
    name = f"{record}/{path or key}" if path or key else record
    if not value:
        reason = f"no image in this row (status: {fields.get('status')})"
        found.problems.append(Problem(record, name, reason))
        return
    location = Location(content.name, content.tell(), len(value))
    content.write(value)
    rows.add_row(found, record=record, row=row._replace(file_name=name), location=location)
