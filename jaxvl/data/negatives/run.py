"""Writes a directory of negatives: tokens of all captions, their statistics, then the edits.

Each chunk's files are kept in a hidden sibling of the directory, so a run that was stopped
continues where it was. At the end the directory appears as a whole.
"""

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxvl import files
from jaxvl.data.negatives import chunks, storage
from jaxvl.data.negatives import vocabulary as vocabularies
from jaxvl.data.negatives.captions import CaptionSet
from jaxvl.data.negatives.chunks import Chunk
from jaxvl.data.negatives.edits import KINDS
from jaxvl.data.negatives.filler import ChosenFiller
from jaxvl.data.negatives.languages import LANGUAGES, language_of
from jaxvl.data.processes import ordered_map
from jaxvl.errors import UserError

VERSION = 1  # increased when the same captions and seed give other negatives
_PLAN = "plan.json"
_RESULT = "result"


def write_negatives(
    directory: Path | str,
    *,
    data: CaptionSet,
    filler: ChosenFiller,
    seed: int,
    workers: int,
    runner: str = "",
) -> dict[str, Any] | None:
    """Writes the negatives of every caption to `directory`, or continues to.

    workers: number of processes. runner: an Apache Beam runner that does the work instead.
    Returns the contents of negatives.json, or None where the directory holds these negatives.
    Raises UserError where a package is not installed, the captions' language has no rules, no
    caption allows a negative, the directory holds something else, another process writes it, or the
    disk is full.
    """
    language = language_of(data, filler.name)
    LANGUAGES[language].check_installed()
    if runner:
        from jaxvl.data.negatives import beam

        beam.apache_beam()  # before any work
    directory, plan = Path(directory), _plan_of(data, filler, seed, language)
    if files.is_filled(directory):
        _check_is_result(directory, plan)
        return None
    with _partial(directory, plan) as partial:
        parts = chunks.chunks_of(data.splits)
        if runner:
            beam.write_chunks(
                partial,
                data=data,
                language=language,
                parts=parts,
                filler=filler,
                seed=seed,
                runner=runner,
            )
        else:
            _write_tokens(partial, data, language, parts, workers)
            _write_vocabulary(partial, language, parts)
            _write_lines(partial, parts, filler, seed, workers)
        meta = _assemble(partial, data, parts, plan)
        if any(meta["made"].values()):
            os.replace(partial / _RESULT, directory)
    if not any(meta["made"].values()):
        raise UserError(
            f"--data {data.directory}: none of its {meta['captions']:,} captions allows a hard "
            f"negative of any kind ({', '.join(KINDS)}), so nothing was written; --explain TEXT "
            "tells why"
        )
    return meta


def _plan_of(data: CaptionSet, filler: ChosenFiller, seed: int, language: str) -> dict[str, Any]:
    """Returns everything that the negatives depend on, as negatives.json stores it."""
    return {
        "format_version": storage.FORMAT_VERSION,
        "generator_version": VERSION,
        "fingerprint": data.fingerprint,
        "splits": data.splits,
        "kinds": list(KINDS),
        "filler": filler.name,
        **dict(filler.options),
        "seed": seed,
        **({} if language == "english" else {"language": language}),
    }


def _check_is_result(directory: Path, plan: dict[str, Any]) -> None:
    """Raises UserError where the directory does not hold the negatives of this plan."""
    try:
        meta = storage.read_meta(directory)
    except UserError:
        meta = {}
    if {**meta, **plan} != meta:
        raise UserError(
            f"--out {directory}: exists and is not these negatives; name another or remove it"
        )


def _write_tokens(
    partial: Path, data: CaptionSet, language: str, parts: Sequence[Chunk], workers: int
) -> None:
    tokens_of = functools.partial(chunks.tokens_of, language=language)

    def tokens_of_each(missing: list[Chunk]) -> Iterable[bytes]:
        captions = (data.captions(chunk.split, chunk.first, chunk.stop) for chunk in missing)
        return ordered_map(tokens_of, captions, workers=workers, chunk=1)

    path_of = functools.partial(chunks.tokens_path, partial)
    _write_missing("analysing", parts, path_of, tokens_of_each)


def _write_vocabulary(partial: Path, language: str, parts: Sequence[Chunk]) -> None:
    if chunks.vocabulary_path(partial).exists():
        return
    counts = vocabularies.no_counts()
    for chunk in tqdm(chunks.counted_chunks(parts), desc="counting", unit="chunk"):
        chunks.count_chunk(counts, chunks.tokens_path(partial, chunk).read_bytes(), language)
    vocabulary = vocabularies.conclude(counts, language)
    files.write_text(chunks.vocabulary_path(partial), vocabularies.to_json(vocabulary))


def _write_lines(
    partial: Path, parts: Sequence[Chunk], filler: ChosenFiller, seed: int, workers: int
) -> None:
    def lines_of_each(missing: list[Chunk]) -> Iterable[bytes]:
        one = functools.partial(chunks.lines_of_file, str(partial), filler, seed)
        return ordered_map(one, missing, workers=workers if filler.in_processes else 1, chunk=1)

    path_of = functools.partial(chunks.lines_path, partial)
    _write_missing("making negatives", parts, path_of, lines_of_each)


def _write_missing(
    what: str,
    parts: Sequence[Chunk],
    path_of: Callable[[Chunk], Path],
    contents_of: Callable[[list[Chunk]], Iterable[bytes]],
) -> None:
    """Writes the file of each chunk that has none. contents_of: the chunks' contents, in order."""
    missing = [chunk for chunk in parts if not path_of(chunk).exists()]
    done = len(parts) - len(missing)
    with tqdm(total=len(parts), initial=done, desc=what, unit="chunk", smoothing=0.1) as bar:
        for chunk, content in zip(missing, contents_of(missing), strict=True):
            files.write_bytes(path_of(chunk), content)
            bar.update()


def _assemble(
    partial: Path, data: CaptionSet, parts: Sequence[Chunk], plan: dict[str, Any]
) -> dict[str, Any]:
    """Joins the chunks' files in partial/result, with index and negatives.json."""
    result = partial / _RESULT
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir()
    captions, count_of = 0, dict.fromkeys(plan["kinds"], 0)
    for split, count in plan["splits"].items():
        rows = []
        with open(result / f"{split}.jsonl", "wb") as out:
            for chunk in parts:
                if chunk.split == split:
                    content = chunks.lines_path(partial, chunk).read_bytes()
                    out.write(content)
                    for line in content.splitlines(keepends=True):
                        entry = json.loads(line)
                        rows.append((entry["example"], len(line)))
                        for kind, negative in zip(plan["kinds"], entry["negatives"], strict=True):
                            count_of[kind] += negative is not None
        (result / f"{split}.index.npz").write_bytes(storage.index_of(rows, count))
        captions += len(rows)
    shutil.copyfile(chunks.vocabulary_path(partial), result / storage.VOCABULARY_FILE)
    name = data.builder or data.directory
    meta = {"data": name, **plan, "captions": captions, "made": count_of}
    (result / storage.META_FILE).write_text(json.dumps(meta, indent=1) + "\n")
    return meta


@contextlib.contextmanager
def _partial(directory: Path, plan: dict[str, Any]) -> Iterator[Path]:
    """Yields the hidden sibling for the work; its content is kept where its plan is this one."""
    with files.locked_partial(directory) as partial:
        try:
            wanted = json.dumps(plan, indent=1)
            path = partial / _PLAN
            if not (path.exists() and path.read_text() == wanted):
                for left_over in partial.iterdir():
                    shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
                files.write_text(path, wanted)
            yield partial
            shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            if files.is_disk_full(error):
                raise UserError(
                    f"--out {directory}: the disk is full; make room and give the same command "
                    f"again, it continues from {partial}"
                ) from None
            raise UserError(f"--out {directory}: {error.strerror} ({error.filename})") from None
