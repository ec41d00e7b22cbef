"""Makes a directory of negatives: analysis of all captions, their statistics, then the edits.

The work is cut into chunks of examples whatever the number of workers; each is a file in a hidden
sibling of the directory, so that a run that was stopped goes on where it was. Files are moved to
the directory in one piece at the end.
"""

import contextlib
import functools
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from jaxvl import files
from jaxvl.data.negatives import analysis, corpus_filler, generator, slots, storage
from jaxvl.data.negatives import vocabulary as vocabularies
from jaxvl.data.processes import ordered_map
from jaxvl.errors import UserError

VERSION = 1  # counts changes after which the same captions and seed give other negatives
CHUNK = 256  # examples
COUNTED = 100_000  # examples whose captions the statistics are taken from, about
_PLAN = "plan.json"
_RESULT = "result"


class Chunk(NamedTuple):
    """Examples `first` to `stop` of a split."""

    split: str
    first: int
    stop: int

    @property
    def name(self):
        """What its files are called."""
        return f"{self.split}-{self.first:09d}"


def write(directory, *, data, plan, workers, runner=""):
    """Write the negatives of every caption to `directory`, or go on with it.

    data: `captions.DataSet`. plan: what negatives.json is to say of how they are made: kinds,
    filler, weights, seed. runner: an Apache Beam runner that does the work in place of `workers`
    processes here. Returns that file's contents.
    Raises UserError where the directory is not empty, another process writes it, or the disk is
    full.
    """
    directory, plan = Path(directory), complete(plan, data)
    with _partial(directory, plan) as partial:
        chunks = chunks_of(data.splits)
        if runner:
            from jaxvl.data.negatives import beam

            beam.fill(partial, data=data, chunks=chunks, plan=plan, runner=runner)
        else:
            _analyse(partial, data, chunks, workers)
            _count(partial, chunks)
            _generate(partial, chunks, plan, workers if plan["filler"] == "corpus" else 1)
        meta = _assemble(partial, data, chunks, plan)
        os.replace(partial / _RESULT, directory)
    return meta


def complete(plan, data):
    """The plan with what of it follows from the data set and this version of jaxvl."""
    return {
        "format_version": storage.FORMAT_VERSION,
        "generator_version": VERSION,
        "fingerprint": data.fingerprint,
        "splits": data.splits,
        **plan,
    }


def chunks_of(splits):
    """The Chunks of all splits. splits: {name: number of examples}."""
    return [
        Chunk(name, first, min(first + CHUNK, count))
        for name, count in splits.items()
        for first in range(0, count, CHUNK)
    ]


def _analyse(partial, data, chunks, workers):
    left = [chunk for chunk in chunks if not analysed(partial, chunk).exists()]
    with tqdm(
        total=len(chunks),
        initial=len(chunks) - len(left),
        desc="analysing",
        unit="chunk",
        smoothing=0.1,
    ) as bar:
        texts = (data.captions(chunk.split, chunk.first, chunk.stop) for chunk in left)
        done = ordered_map(analyse_chunk, texts, workers=workers, chunk=1)
        for chunk, content in zip(left, done, strict=True):
            put(analysed(partial, chunk), content)
            bar.update()


def analyse_chunk(captions):
    """The tokens of a chunk, as JSON. captions: a list of texts for each example."""
    tokens = iter(analysis.analyse([text for texts in captions for text in texts]))
    examples = [[[text, next(tokens)] for text in texts] for texts in captions]
    return json.dumps(examples, ensure_ascii=False).encode()


def readings_of(content):
    """What `analyse_chunk` wrote: (captions, `slots.Reading`s) for each example."""
    for example in json.loads(content):
        yield (
            [text for text, _ in example],
            [slots.read([analysis.Token(*token) for token in tokens]) for _, tokens in example],
        )


def counted_chunks(chunks):
    """The chunks that the statistics are taken from: of "train", or of all splits without it."""
    chosen = [chunk for chunk in chunks if chunk.split == "train"] or chunks
    return chosen[:: -(-len(chosen) * CHUNK // COUNTED)] if chosen else []


def count_chunk(counts, content):
    """Adds a chunk's captions to `vocabulary.Counts`. content: what `analyse_chunk` returned."""
    for _, readings in readings_of(content):
        vocabularies.count(counts, readings)


def _count(partial, chunks):
    if vocabulary_path(partial).exists():
        return
    counts = vocabularies.no_counts()
    for chunk in tqdm(counted_chunks(chunks), desc="counting", unit="chunk"):
        count_chunk(counts, analysed(partial, chunk).read_bytes())
    vocabulary = vocabularies.conclude(counts)
    put(vocabulary_path(partial), vocabularies.to_json(vocabulary).encode())


def _generate(partial, chunks, plan, workers):
    left = [chunk for chunk in chunks if not made(partial, chunk).exists()]
    make = functools.partial(
        generate_file, str(partial), plan["filler"], plan["weights"], plan["seed"]
    )
    with tqdm(
        total=len(chunks),
        initial=len(chunks) - len(left),
        desc="making negatives",
        unit="chunk",
        smoothing=0.1,
    ) as bar:
        for chunk, content in zip(
            left, ordered_map(make, left, workers=workers, chunk=1), strict=True
        ):
            put(made(partial, chunk), content)
            bar.update()


def generate_file(partial, filler, weights, seed, chunk):
    """The lines of SPLIT.jsonl of a chunk, from the files in `partial`."""
    vocabulary, words = _opened(str(vocabulary_path(partial)), filler, weights)
    content = analysed(partial, chunk).read_bytes()
    return generate_chunk(content, chunk, vocabulary=vocabulary, filler=words, seed=seed)


@functools.lru_cache(maxsize=1)
def _opened(path, filler, weights):
    vocabulary = vocabularies.from_json(Path(path).read_text())
    return vocabulary, make_filler(filler, vocabulary, weights)


def make_filler(name, vocabulary, weights):
    """The `generator.Filler` of that name: "corpus", or "mlm" of the model in folder `weights`."""
    if name == "corpus":
        return corpus_filler.make(vocabulary)
    from jaxvl.data.negatives import mlm_filler

    return mlm_filler.make(vocabulary, weights)


def generate_chunk(content, chunk, *, vocabulary, filler, seed):
    """The lines of SPLIT.jsonl of a chunk. content: what `analyse_chunk` returned for it."""
    lines = []
    examples = list(readings_of(content))
    fill = filler.prepare(examples)
    for example, (captions, readings) in enumerate(examples, start=chunk.first):
        picture = generator.picture_of(captions, readings, vocabulary)
        for number, caption in enumerate(captions):
            made = generator.negatives_of(
                picture,
                number,
                vocabulary=vocabulary,
                fill=fill,
                name=filler.name,
                seed=seed,
                place=f"{chunk.split}/{example}/{number}",
            )
            line = {"example": example, "caption": number, "text": caption, "negatives": made}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def _assemble(partial, data, chunks, plan):
    """Joins the chunks' files in partial/result, with index and negatives.json."""
    result = partial / _RESULT
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir()
    captions, count_of = 0, dict.fromkeys(plan["kinds"], 0)
    for split, count in plan["splits"].items():
        rows = []
        with open(result / f"{split}.jsonl", "wb") as out:
            for chunk in chunks:
                if chunk.split == split:
                    content = made(partial, chunk).read_bytes()
                    out.write(content)
                    for line in content.splitlines(keepends=True):
                        entry = json.loads(line)
                        rows.append((entry["example"], len(line)))
                        for kind, negative in zip(plan["kinds"], entry["negatives"], strict=True):
                            count_of[kind] += negative is not None
        (result / f"{split}.index.npz").write_bytes(storage.index_of(rows, count))
        captions += len(rows)
    shutil.copyfile(vocabulary_path(partial), result / storage.VOCABULARY_FILE)
    name = data.builder or data.directory
    meta = {"data": name, **plan, "captions": captions, "made": count_of}
    (result / storage.META_FILE).write_text(json.dumps(meta, indent=1) + "\n")
    return meta


def analysed(partial, chunk):
    """The file that a chunk's tokens are kept in."""
    return Path(partial) / f"{chunk.name}.tokens.json"


def made(partial, chunk):
    """The file that a chunk's lines are kept in."""
    return Path(partial) / f"{chunk.name}.jsonl"


def vocabulary_path(partial):
    """The file that the statistics are kept in."""
    return Path(partial) / storage.VOCABULARY_FILE


def put(path, content):
    """Writes a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


@contextlib.contextmanager
def _partial(directory, plan):
    """The hidden sibling that the work is done in: kept where the plan is the one begun with."""
    with files.locked_partial(directory) as partial:
        try:
            wanted = json.dumps(plan, indent=1)
            path = partial / _PLAN
            if not (path.exists() and path.read_text() == wanted):
                for left_over in partial.iterdir():
                    shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
                put(path, wanted.encode())
            yield partial
            shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            if files.is_disk_full(error):
                raise UserError(
                    f"--out {directory}: the disk is full; make room and give the same command "
                    f"again, it goes on from {partial}"
                ) from None
            raise UserError(f"--out {directory}: {error.strerror} ({error.filename})") from None
