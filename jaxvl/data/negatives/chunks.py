"""The work on one chunk of examples, the same in this process, another one, or a Beam worker.

A data set is divided into chunks in the same way for every number of workers. Each step writes one
file for each chunk to a directory, the partial one: tokens, then lines with negatives.
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxvl.data.negatives import storage
from jaxvl.data.negatives import vocabulary as vocabularies
from jaxvl.data.negatives.filler import ChosenFiller, Example, Filler
from jaxvl.data.negatives.generator import negatives_of
from jaxvl.data.negatives.image_facts import facts_of
from jaxvl.data.negatives.languages import LANGUAGES
from jaxvl.data.negatives.reading import Token
from jaxvl.data.negatives.vocabulary import Counts, Vocabulary

CHUNK = 256  # examples
COUNTED = 100_000  # examples, about, that the statistics are taken from


class Chunk(NamedTuple):
    """Examples `first` to `stop` of a split."""

    split: str
    first: int
    stop: int

    @property
    def name(self) -> str:
        """Returns the name of its files."""
        return f"{self.split}-{self.first:09d}"


def chunks_of(splits: Mapping[str, int]) -> list[Chunk]:
    """Returns the chunks of all splits. splits: {name: number of examples}."""
    return [
        Chunk(name, first, min(first + CHUNK, count))
        for name, count in splits.items()
        for first in range(0, count, CHUNK)
    ]


def counted_chunks(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """Returns the chunks that the statistics are taken from: of "train", or of all without it."""
    chosen = [chunk for chunk in chunks if chunk.split == "train"] or chunks
    return chosen[:: -(-len(chosen) * CHUNK // COUNTED)] if chosen else []


def tokens_path(partial: Path | str, chunk: Chunk) -> Path:
    """Returns the file for the tokens of a chunk."""
    return Path(partial) / f"{chunk.name}.tokens.json"


def lines_path(partial: Path | str, chunk: Chunk) -> Path:
    """Returns the file for the lines of a chunk."""
    return Path(partial) / f"{chunk.name}.jsonl"


def vocabulary_path(partial: Path | str) -> Path:
    """Returns the file for the statistics."""
    return Path(partial) / storage.VOCABULARY_FILE


def tokens_of(captions: list[list[str]], language: str = "english") -> bytes:
    """Returns the captions of each example with their tokens, as JSON."""
    analyse = LANGUAGES[language].analyse
    tokens = iter(analyse([text for texts in captions for text in texts]))
    examples = [[[text, next(tokens)] for text in texts] for texts in captions]
    return json.dumps(examples, ensure_ascii=False).encode()


def examples_in(tokens: bytes, language: str) -> Iterator[Example]:
    """Yields the examples that `tokens_of` wrote."""
    read = LANGUAGES[language].read
    for example in json.loads(tokens):
        yield (
            [text for text, _ in example],
            [read([Token(*token) for token in found]) for _, found in example],
        )


def count_chunk(counts: Counts, tokens: bytes, language: str = "english") -> None:
    """Adds the captions of a chunk to the counts. tokens: from `tokens_of`."""
    for _, readings in examples_in(tokens, language):
        vocabularies.count(counts, readings)


def lines_of_file(partial: Path | str, filler: ChosenFiller, seed: int, chunk: Chunk) -> bytes:
    """Returns the lines of SPLIT.jsonl for a chunk, from the files in `partial`."""
    text = vocabulary_path(partial).read_text(encoding="utf-8")
    vocabulary, ready = _opened(text, filler)
    tokens = tokens_path(partial, chunk).read_bytes()
    return lines_of(tokens, chunk, vocabulary=vocabulary, filler=ready, seed=seed)


@functools.lru_cache(maxsize=1)
def _opened(vocabulary_text: str, filler: ChosenFiller) -> tuple[Vocabulary, Filler]:
    vocabulary = vocabularies.from_json(vocabulary_text)
    return vocabulary, filler.with_vocabulary(vocabulary)


def lines_of(
    tokens: bytes, chunk: Chunk, *, vocabulary: Vocabulary, filler: Filler, seed: int
) -> bytes:
    """Returns the lines of SPLIT.jsonl for a chunk. tokens: from `tokens_of`."""
    lines = []
    examples = list(examples_in(tokens, vocabulary.language))
    fill = filler.prepare(examples)
    for example, (captions, readings) in enumerate(examples, start=chunk.first):
        facts = facts_of(captions, readings, vocabulary)
        for number, caption in enumerate(captions):
            negatives = negatives_of(
                facts,
                number,
                vocabulary=vocabulary,
                fill=fill,
                filler_name=filler.name,
                seed=seed,
                place=f"{chunk.split}/{example}/{number}",
            )
            line = {"example": example, "caption": number, "text": caption, "negatives": negatives}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines).encode()
