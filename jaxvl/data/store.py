"""Prepared data sets: one record schema, written as ArrayRecord through TFDS's writer.

`tfds.builder_from_directory(DIR)` reads what `write` leaves in DIR. Beside TFDS's own files lie
`jaxvl.json` (what it is, how it was made) and `tokenizer.json` (trained on its captions).

A record is a dict:
    image              bytes            JPEG, RGB, upright
    file_name          str              unique within the data set
    captions           list of str      as written, at least one, none empty
    boxes              float32 [O, 4]   ymin, xmin, ymax, xmax of O objects, in [0, 1]
    mentions           int64 [M, 3]     rows (caption, word, object): which word means which object
    negatives          list of str      K captions that are false of the picture
    negative_kinds     list of str      what was changed in each
    negative_captions  int64 [K]        the caption each one contradicts
All but the first three may be left out: they are stored empty.
"""

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxvl import files
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError

META_FILE = "jaxvl.json"
TOKENIZER_FILE = "tokenizer.json"
FORMAT_VERSION = 1
RECORDS_PER_SHARD = 8192
_CHUNK = 256  # records handed to the writer at once; it rewrites dataset_info.json each time


def features():
    """The record schema as a TFDS FeaturesDict."""
    f = _tfds().features
    return f.FeaturesDict(
        {
            "image": f.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "file_name": f.Text(),
            "captions": f.Sequence(f.Text()),
            "boxes": f.Tensor(shape=(None, 4), dtype=np.float32),
            "mentions": f.Tensor(shape=(None, 3), dtype=np.int64),
            "negatives": f.Sequence(f.Text()),
            "negative_kinds": f.Sequence(f.Text()),
            "negative_captions": f.Sequence(np.int64),
        }
    )


def write(directory, *, kind, splits, counts, meta, vocabulary_size):
    """Write a prepared data set: all of it, or nothing.

    kind: what it is, e.g. "scenes". splits: {name: iterable of records}, read once, in order.
    counts: {name: number of records}, for the progress bar, and checked. meta: what else
    jaxvl.json is to say, JSON values. vocabulary_size: of the WordPiece tokenizer trained on the
    captions of split "train" (of all splits where there is none).
    Raises UserError if `directory` is not empty, a record is malformed, or the disk is full.
    """
    directory = Path(directory)
    with files.written_whole(directory) as partial:
        digest, captions = hashlib.sha256(), []
        writer = _writer(partial, f"jaxvl_{kind}")
        writer.initialize_splits(list(splits))
        for split, records in splits.items():
            checked = (_checked(record) for record in records)
            seen = 0
            with tqdm(total=counts[split], desc=f"writing {split}", unit="image") as bar:
                while chunk := list(itertools.islice(checked, _CHUNK)):
                    writer.add_examples({split: chunk})
                    for record in chunk:
                        _update_digest(digest, split, record)
                        if split == "train" or "train" not in splits:
                            captions.extend(record["captions"])
                    seen += len(chunk)
                    bar.update(len(chunk))
            if seen != counts[split]:
                raise UserError(f"split {split}: {counts[split]} records announced, {seen} came")
        writer.close_all()
        _verify(partial, counts)
        trained = tokenizer.train(captions, vocabulary_size=vocabulary_size)
        trained.save(str(partial / TOKENIZER_FILE))
        described = dict(
            kind=kind,
            format_version=FORMAT_VERSION,
            splits=dict(counts),
            fingerprint=digest.hexdigest()[:32],
            **meta,
        )
        (partial / META_FILE).write_text(json.dumps(described, indent=1) + "\n")


def read_meta(directory):
    """The contents of jaxvl.json. Raises UserError if there is no prepared data set."""
    path = Path(directory) / META_FILE
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{directory}: no prepared data set here (no {META_FILE}); make one with "
            f"`jaxvl prepare scenes --out {directory}` or `... prepare folder`"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: unreadable ({error})") from error


def _tfds():
    from jaxvl.data.host_tf import tfds

    return tfds


def _writer(directory, name):
    tfds = _tfds()
    identity = tfds.core.DatasetIdentity(
        name=name,
        version=tfds.core.Version(f"{FORMAT_VERSION}.0.0"),
        data_dir=str(directory),
        module_name="",
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features())
    writer = tfds.core.SequentialWriter(
        info, max_examples_per_shard=RECORDS_PER_SHARD, file_format="array_record"
    )
    _sort_fields(writer._serializer)
    return writer


def _sort_fields(serializer):
    # TFDS leaves the order of an example's fields to the process: the same data, other files.
    get_example = serializer.get_tf_example
    serializer.serialize_example = lambda example: get_example(example).SerializeToString(
        deterministic=True
    )


def _checked(record):
    captions = list(record["captions"])
    if not captions or not all(caption.strip() for caption in captions):
        raise UserError(f"record {record['file_name']}: a caption is missing or empty")
    return {
        "image": record["image"],
        "file_name": record["file_name"],
        "captions": captions,
        "boxes": np.asarray(record.get("boxes", ()), np.float32).reshape(-1, 4),
        "mentions": np.asarray(record.get("mentions", ()), np.int64).reshape(-1, 3),
        "negatives": list(record.get("negatives", ())),
        "negative_kinds": list(record.get("negative_kinds", ())),
        "negative_captions": np.asarray(record.get("negative_captions", ()), np.int64),
    }


def _update_digest(digest, split, record):
    rest = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in record.items()}
    rest["image"] = hashlib.sha256(record["image"]).hexdigest()
    digest.update(json.dumps([split, rest], sort_keys=True).encode())


def _verify(directory, counts):
    """Count every shard again from disk: a writer that met a full disk need not have said so."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    info = _tfds().builder_from_directory(str(directory)).info
    for split, count in counts.items():
        paths = [str(path) for path in info.splits[split].filepaths] if count else []
        stored = len(ArrayRecordDataSource(paths)) if paths else 0
        if stored != count:
            raise UserError(f"{directory}: split {split} holds {stored} of {count} records")
