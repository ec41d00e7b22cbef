"""Prepared data sets: records as ArrayRecord, in the layout that TFDS reads.

`tfds.builder_from_directory(DIR)` opens what `write` leaves in DIR. Beside TFDS's own files lie
`jaxvl.json` (what the data set is and how it was made) and `tokenizer.json` (trained on its
captions). `jaxvl.data.schema.RECORD` lists the fields of a record.
"""

import hashlib
import itertools
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxvl import files, paths
from jaxvl.data import schema
from jaxvl.data.text import tokenizer
from jaxvl.data.text.report import TextReport, refuse_if_lost, report_on
from jaxvl.data.text.scripts import ENGLISH, Reading
from jaxvl.data.text.words import WORDS
from jaxvl.errors import UserError

META_FILE = "jaxvl.json"
TOKENIZER_FILE = "tokenizer.json"
FORMAT_VERSION = 1
RECORDS_PER_SHARD = 8192
_FILE_FORMAT = "array_record"

Record = Mapping[str, Any]


def write(
    directory: Path | str,
    *,
    kind: str,
    splits: Mapping[str, Iterable[Record]],
    counts: Mapping[str, int],
    meta: Mapping[str, Any],
    vocabulary_size: int,
    reading: Reading = ENGLISH,
    max_lost: float = 1.0,
) -> TextReport:
    """Writes a prepared data set: all of it, or nothing; returns what became of its captions.

    kind: what it is, such as "scenes". splits: {name: records}, each read once, in order.
    counts: {name: number of records}, for the progress bar; checked. meta: further entries of
    jaxvl.json, JSON values. vocabulary_size: of the tokenizer trained on the captions of split
    "train" (of all splits where there is none). reading: how they are read. max_lost: share of
    captions that may be read like others, or not at all.
    Raises UserError if `directory` is not empty, a record is malformed, too many captions are lost,
    or the disk is full.
    """
    with files.written_whole(directory) as partial:
        digest, captions = hashlib.sha256(), []

        def noted(split: str, records: Iterable[Record]) -> Iterator[Record]:
            for record in map(schema.complete_record, records):
                _update_digest(digest, split, record)
                if split == "train" or "train" not in splits:
                    captions.extend(record["captions"])
                yield record

        infos = [
            _write_split(partial, kind, split, noted(split, records), count=counts[split])
            for split, records in splits.items()
        ]
        _write_info(partial, kind, infos)
        _verify(partial, counts)
        trained = tokenizer.train(captions, vocabulary_size=vocabulary_size, reading=reading)
        report = report_on(trained, captions, reading)
        refuse_if_lost(report, max_bad=max_lost)
        files.write_text(partial / TOKENIZER_FILE, trained.to_str(pretty=True))
        words = (
            {}
            if reading.vocabulary == "wordpiece" and reading.words == "blanks"
            else {"words": reading.words}
        )
        described = dict(
            kind=kind,
            format_version=FORMAT_VERSION,
            splits=dict(counts),
            fingerprint=digest.hexdigest()[:32],
            **meta,
            **words,
        )
        files.write_text(partial / META_FILE, json.dumps(described, indent=1) + "\n")
    return report


def read_meta(directory: Path | str) -> dict[str, Any]:
    """Returns the contents of jaxvl.json. Raises UserError if there is no prepared data set."""
    path = paths.of(directory) / META_FILE
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{directory}: no prepared data set here (no {META_FILE}); make one with "
            f"`jaxvl prepare scenes --out {shlex.quote(str(directory))}` or `jaxvl prepare folder`"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: unreadable ({error})") from error
    wanted = {"kind": str, "format_version": int, "splits": dict, "fingerprint": str}
    for key, of in wanted.items():
        if not isinstance(meta, dict) or not isinstance(meta.get(key), of):
            raise UserError(f"{path}: has no {key}; copy or prepare the data set again")
    return meta


def words_of(directory: Path | str) -> str:
    """Returns how words are found in a data set's captions: a name in WORDS, "" if none is stored.

    A folder that is no prepared data set, or none that can be read, stores none.
    """
    try:
        words = read_meta(directory).get("words", "")
    except UserError:
        return ""
    if words not in ("", *WORDS):
        raise UserError(f"{directory}: unknown words {words!r}; prepare it again")
    return words


def features():
    """Returns the schema of a record as a TFDS FeaturesDict."""
    from jaxvl.data.host_tf import tfds

    return tfds.features.FeaturesDict(
        {name: _feature(tfds.features, field) for name, field in schema.RECORD.items()}
    )


def _feature(f: Any, field: schema.Field) -> Any:
    if field.dtype is bytes:
        return f.Image(shape=(None, None, 3), encoding_format="jpeg")
    if field.dtype is str:
        return f.Sequence(f.Text()) if field.shape else f.Text()
    if len(field.shape) == 1:
        return f.Sequence(field.dtype)
    return f.Tensor(shape=field.shape, dtype=field.dtype)


def _data_set_name(kind: str) -> str:
    return f"jaxvl_{kind}"


def _write_split(
    directory: Path, kind: str, split: str, records: Iterator[Record], *, count: int
) -> Any:
    """Writes the shards of a split; returns TFDS's SplitInfo of it.

    Raises UserError where the records are not `count`.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    from jaxvl.data.host_tf import tfds

    serialize = _serializer()
    lengths, num_bytes = [], 0
    stem = f"{_data_set_name(kind)}-{split}.{_FILE_FORMAT}"
    with tqdm(total=count, desc=f"writing {split}", unit="image") as bar:
        while (first := next(records, None)) is not None:
            # One record a group: records are read in random order, one at a time.
            writer = ArrayRecordWriter(
                str(directory / f"{stem}-{len(lengths):05d}"), "group_size:1"
            )
            lengths.append(0)
            for record in itertools.chain(
                [first], itertools.islice(records, RECORDS_PER_SHARD - 1)
            ):
                serialized = serialize(record)
                writer.write(serialized)
                lengths[-1] += 1
                num_bytes += len(serialized)
                bar.update()
            writer.close()
    if sum(lengths) != count:
        raise UserError(f"split {split}: {count} records announced, {sum(lengths)} came")
    template = tfds.core.ShardedFileTemplate(
        dataset_name=_data_set_name(kind),
        data_dir=tfds.core.Path(directory),
        split=split,
        filetype_suffix=_FILE_FORMAT,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
    )
    return tfds.core.SplitInfo(
        name=split, shard_lengths=lengths, num_bytes=num_bytes, filename_template=template
    )


def _serializer() -> Callable[[Record], bytes]:
    from jaxvl.data.host_tf import tf

    stored = features()

    def serialize(record: Record) -> bytes:
        # TFDS leaves the order of an example's fields to the process: the same data would be
        # written as other files.
        example = tf.train.Example.FromString(stored.serialize_example(record))
        return example.SerializeToString(deterministic=True)

    return serialize


def _write_info(directory: Path, kind: str, infos: list[Any]) -> None:
    """Writes what TFDS reads beside the records: dataset_info.json and features.json.

    `tfds.folder_dataset.write_metadata` does it too, but refuses a split without records.
    """
    from jaxvl.data.host_tf import tfds

    identity = tfds.core.DatasetIdentity(
        name=_data_set_name(kind),
        version=tfds.core.Version(f"{FORMAT_VERSION}.0.0"),
        data_dir=str(directory),
        module_name="",
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features())
    info.set_file_format(_FILE_FORMAT)
    info.set_splits(tfds.core.SplitDict(infos))
    info.write_to_directory(directory)


def _update_digest(digest: Any, split: str, record: Record) -> None:
    rest = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in record.items()}
    rest["image"] = hashlib.sha256(record["image"]).hexdigest()
    digest.update(json.dumps([split, rest], sort_keys=True).encode())


def _verify(directory: Path, counts: Mapping[str, int]) -> None:
    """Counts every shard again from disk, since a writer need not report a full disk.

    Raises UserError naming a split that holds fewer records.
    """
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    for split, count in counts.items():
        pattern = f"*-{split}.{_FILE_FORMAT}-*"
        paths = sorted(str(path) for path in directory.glob(pattern)) if count else []
        stored = len(ArrayRecordDataSource(paths)) if paths else 0
        if stored != count:
            raise UserError(f"{directory}: split {split} holds {stored} of {count} records")
