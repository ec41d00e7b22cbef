"""COCO captions of 2014 (Chen et al. 2015) in the splits of Karpathy & Li (2015), as a data set.

Sizes and digests of the published files are those in TensorFlow Datasets.
"""

import collections
import functools
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from jaxvl import files
from jaxvl.data import store
from jaxvl.data.images import jpeg, plain, untrusted
from jaxvl.errors import UserError
from jaxvl.fetch.download import Remote, check_room, download

_COCO = "http://images.cocodataset.org"
FILES = {
    "caption_datasets.zip": Remote(
        "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
        36_745_453,
        "4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
    ),
    "annotations_trainval2014.zip": Remote(
        f"{_COCO}/annotations/annotations_trainval2014.zip",
        252_872_794,
        "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    ),
    "val2014.zip": Remote(
        f"{_COCO}/zips/val2014.zip",
        6_645_013_297,
        "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
    ),
    "train2014.zip": Remote(
        f"{_COCO}/zips/train2014.zip",
        13_510_573_713,
        "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    ),
}
YEARS = ("train2014", "val2014")
SPLITS = "dataset_coco.json"  # of Karpathy & Li: train, restval, val, test
VOCABULARY = 30_522


def fetch(out: Path | str) -> str:
    """Downloads COCO and stores it as the prepared data set `out`; returns a line for the user.

    What is downloaded lies in OUT.download until everything is stored. Raises UserError where
    there is no network or no room; the same command then continues.
    """
    out = Path(out)
    if files.is_filled(out):
        raise UserError(f"--out {out}: exists and is not empty; name another or remove it")
    folder = out.with_name(f"{out.name}.download")
    there = {name: folder / name for name in FILES}
    images = sum(FILES[f"{year}.zip"].size for year in YEARS)  # stored once more
    check_room(folder, [(FILES[name], path) for name, path in there.items()], more=images)
    with files.locked(folder / ".lock", f"{folder}: another process is downloading there"):
        for name, path in there.items():
            download(FILES[name], path)
        counts = _store(out, there)
    shutil.rmtree(folder)
    return f"wrote {', '.join(f'{name} {count}' for name, count in counts.items())} to {out}"


def _store(out, there):
    described = _json(there["caption_datasets.zip"], SPLITS)["images"]
    captions = _captions(there["annotations_trainval2014.zip"])
    splits = collections.defaultdict(list)
    for image in described:
        splits[image["split"]].append(image)
    counts = {name: len(images) for name, images in splits.items()}
    store.write(
        out,
        kind="coco",
        splits={name: _records(images, captions, there) for name, images in splits.items()},
        counts=counts,
        meta={"source": {name: remote._asdict() for name, remote in FILES.items()}},
        vocabulary_size=VOCABULARY,
    )
    return counts


def _captions(path: Path) -> Mapping[int, list[str]]:
    found = collections.defaultdict(list)
    for year in YEARS:
        for annotation in _json(path, f"annotations/captions_{year}.json")["annotations"]:
            caption = annotation["caption"].strip()
            if caption:
                found[annotation["image_id"]].append(caption)
    return found


def _records(images, captions, there) -> Iterator[dict[str, Any]]:
    for image in images:
        year, name = image["filepath"], image["filename"]
        if year not in YEARS:
            raise UserError(f"{SPLITS}: {name} is in {year!r}, not in {' or '.join(YEARS)}")
        content = _read(there[f"{year}.zip"], f"{year}/{name}")
        yield {
            "image": _as_stored(content, name),
            "file_name": name,
            "captions": captions[image["cocoid"]],
        }


def _as_stored(content: bytes, name: str) -> bytes:
    """Returns an image as upright RGB JPEG: the same bytes where it is one, without metadata."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            kept = image.format == "JPEG" and image.mode == "RGB"
        if kept and plain.plain(content) is content:
            return jpeg.without_metadata(content)
        encoded = io.BytesIO()
        untrusted.from_bytes(content).save(encoded, "JPEG", quality=untrusted.JPEG_QUALITY)
        return encoded.getvalue()
    except (untrusted.BadImage, OSError, ValueError) as error:
        raise UserError(f"{name}: {error}") from None


def _json(path: Path, name: str) -> Any:
    try:
        return json.loads(_read(path, name))
    except ValueError as error:
        raise UserError(f"{path}: {name} is not JSON ({error})") from None


def _read(path: Path, name: str) -> bytes:
    try:
        return _archive(path).read(name)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {name} cannot be read ({error})") from None


@functools.cache
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
