"""The steps of `run.write_negatives` as Apache Beam pipelines, for very large data sets.

The chunks and the files are the same. Every worker reads the data set and writes to the hidden
sibling of --out, so both must be on a file system that all workers see.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxvl import files
from jaxvl.data.negatives import chunks
from jaxvl.data.negatives import vocabulary as vocabularies
from jaxvl.data.negatives.captions import CaptionSet, open_captions
from jaxvl.data.negatives.chunks import Chunk
from jaxvl.data.negatives.filler import ChosenFiller
from jaxvl.data.negatives.vocabulary import Counts
from jaxvl.errors import UserError


def apache_beam() -> Any:
    """Returns the module. Raises UserError where it is not installed."""
    try:
        import apache_beam  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "--runner needs apache_beam, which is not installed; run: pip install apache-beam"
        ) from None
    return apache_beam


def write_chunks(
    partial: Path,
    *,
    data: CaptionSet,
    language: str,
    parts: Sequence[Chunk],
    filler: ChosenFiller,
    seed: int,
    runner: str,
) -> None:
    """Writes the files of all chunks and the statistics to `partial`; existing ones are kept."""
    beam, folder = apache_beam(), str(partial)
    with _pipeline(runner) as pipeline:
        missing = [chunk for chunk in parts if not chunks.tokens_path(folder, chunk).exists()]
        write_tokens = functools.partial(
            _write_tokens, folder, data.directory, data.builder, language
        )
        _ = pipeline | beam.Create(missing) | beam.Reshuffle() | beam.Map(write_tokens)
    if not chunks.vocabulary_path(folder).exists():
        with _pipeline(runner) as pipeline:
            counted = pipeline | beam.Create(chunks.counted_chunks(parts)) | beam.Reshuffle()
            counts = counted | beam.Map(functools.partial(_count, folder, language))
            total = counts | beam.CombineGlobally(_sum)
            _ = total | beam.Map(functools.partial(_write_vocabulary, folder, language))
    with _pipeline(runner) as pipeline:
        missing = [chunk for chunk in parts if not chunks.lines_path(folder, chunk).exists()]
        write_lines = functools.partial(_write_lines, folder, filler, seed)
        _ = pipeline | beam.Create(missing) | beam.Reshuffle() | beam.Map(write_lines)


def _pipeline(runner: str) -> Any:
    beam = apache_beam()
    options = beam.options.pipeline_options.PipelineOptions([f"--runner={runner}"])
    return beam.Pipeline(options=options)


@functools.lru_cache(maxsize=1)
def _opened(directory: str, builder: str) -> CaptionSet:
    return open_captions(directory, builder)


# Beam checks these signatures, and may hand NamedTuples over as plain tuples: Chunk(*chunk).


def _write_tokens(partial: str, directory: str, builder: str, language: str, chunk: Chunk) -> None:
    chunk = Chunk(*chunk)
    captions = _opened(directory, builder).captions(chunk.split, chunk.first, chunk.stop)
    files.write_bytes(chunks.tokens_path(partial, chunk), chunks.tokens_of(captions, language))


def _count(partial: str, language: str, chunk: Chunk) -> Any:
    counts = vocabularies.no_counts()
    tokens = chunks.tokens_path(partial, Chunk(*chunk)).read_bytes()
    chunks.count_chunk(counts, tokens, language)
    return counts


def _sum(many: Iterable[Any]) -> Any:
    total = vocabularies.no_counts()
    for counts in many:
        vocabularies.add(total, Counts(*counts))
    return total


def _write_vocabulary(partial: str, language: str, counts: Any) -> None:
    vocabulary = vocabularies.conclude(Counts(*counts), language)
    files.write_text(chunks.vocabulary_path(partial), vocabularies.to_json(vocabulary))


def _write_lines(partial: str, filler: ChosenFiller, seed: int, chunk: Chunk) -> None:
    content = chunks.lines_of_file(partial, filler, seed, Chunk(*chunk))
    files.write_bytes(chunks.lines_path(partial, Chunk(*chunk)), content)
