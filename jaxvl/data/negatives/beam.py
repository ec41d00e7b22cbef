"""The steps of `run.write` as Apache Beam pipelines, for data sets too large for one machine.

The chunks are the same and so are the files: every worker reads the data set and writes to the
hidden sibling of --out, which therefore lie on a file system that all of them see.
"""

import functools
from pathlib import Path

from jaxvl.data.negatives import captions, run
from jaxvl.data.negatives import vocabulary as vocabularies
from jaxvl.errors import UserError


def check_installed():
    """Raises UserError where apache_beam is not installed."""
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        raise UserError(
            "--runner needs apache_beam, which is not installed; run: pip install apache-beam"
        ) from None


def fill(partial, *, data, chunks, plan, runner):
    """Writes all that `run.assemble` reads to `partial`; what is there already is kept."""
    import apache_beam as beam

    partial = str(partial)
    with _pipeline(runner) as pipeline:
        left = [chunk for chunk in chunks if not run.analysed(partial, chunk).exists()]
        analyse = functools.partial(_analyse, partial, data.directory, data.builder)
        _ = pipeline | beam.Create(left) | beam.Reshuffle() | beam.Map(analyse)
    if not run.vocabulary_path(partial).exists():
        with _pipeline(runner) as pipeline:
            counted = pipeline | beam.Create(run.counted_chunks(chunks)) | beam.Reshuffle()
            counts = counted | beam.Map(functools.partial(_count, partial))
            total = counts | beam.CombineGlobally(_add)
            _ = total | beam.Map(functools.partial(_conclude, partial))
    with _pipeline(runner) as pipeline:
        left = [chunk for chunk in chunks if not run.made(partial, chunk).exists()]
        make = functools.partial(_make, partial, plan["filler"], plan["weights"], plan["seed"])
        _ = pipeline | beam.Create(left) | beam.Reshuffle() | beam.Map(make)


def _pipeline(runner):
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    return beam.Pipeline(options=PipelineOptions([f"--runner={runner}"]))


@functools.lru_cache(maxsize=1)
def _opened(directory, builder):
    return captions.open_captions(directory, builder)


def _analyse(partial, directory, builder, chunk):
    chunk = run.Chunk(*chunk)
    texts = _opened(directory, builder).captions(chunk.split, chunk.first, chunk.stop)
    run.put(run.analysed(partial, chunk), run.analyse_chunk(texts))


def _count(partial, chunk):
    counts = vocabularies.no_counts()
    run.count_chunk(counts, run.analysed(partial, run.Chunk(*chunk)).read_bytes())
    return counts


def _add(many):
    total = vocabularies.no_counts()
    for counts in many:
        vocabularies.add(total, vocabularies.Counts(*counts))
    return total


def _conclude(partial, counts):
    vocabulary = vocabularies.conclude(vocabularies.Counts(*counts))
    run.put(Path(run.vocabulary_path(partial)), vocabularies.to_json(vocabulary).encode())


def _make(partial, filler, weights, seed, chunk):
    chunk = run.Chunk(*chunk)
    run.put(run.made(partial, chunk), run.generate_file(partial, filler, weights, seed, chunk))
