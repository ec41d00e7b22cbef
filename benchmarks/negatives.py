"""Speed of making hard negatives: captions a second and core, the tagger included.

    python benchmarks/negatives.py --captions metadata.jsonl

It measures the processor time of the work of one `jaxvl negatives` worker with the filler `corpus`:
tagging, counting, editing, and the JSON in between. Other programs on the machine disturb processor
time least. Loading the tagger is reported separately. The last line is a JSON object.
"""

import argparse
import itertools
import json
import os
import time

from jaxvl.data.negatives import choose_filler, chunks
from jaxvl.data.negatives import vocabulary as vocabularies
from jaxvl.data.negatives.languages import named_language


def main():
    flags = parse_flags()
    captions = read_captions(flags)
    size = chunks.CHUNK
    parts = [captions[k : k + size] for k in range(0, len(captions), size)]
    language = named_language(text for texts in captions for text in texts)
    _, loading = timed(lambda: chunks.tokens_of(captions[:1], language))
    tokens, analysing = timed(lambda: [chunks.tokens_of(texts, language) for texts in parts])
    vocabulary, counting = timed(lambda: conclude(tokens, language))
    lines, editing = timed(lambda: edit(tokens, vocabulary))
    count = sum(map(len, captions))
    steps = {"analysing": analysing, "counting": counting, "editing": editing}
    print(
        json.dumps(
            {
                "captions": count,
                "language": language,
                "captions_per_second_per_core": round(count / sum(steps.values())),
                "seconds": {name: round(value, 2) for name, value in steps.items()},
                "seconds_loading": round(loading, 2),
                "megabytes": round(sum(map(len, lines)) / 1e6, 1),
                "load_average": round(os.getloadavg()[0], 2),
            }
        )
    )


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", required=True, metavar="FILE", help="metadata.jsonl")
    parser.add_argument("--examples", type=int, default=2048)
    return parser.parse_args()


def read_captions(flags):
    with open(flags.captions) as lines:
        records = [json.loads(line) for line in itertools.islice(lines, flags.examples)]
    return [record.get("captions") or [record["text"]] for record in records]


def timed(function):
    start = time.process_time()
    return function(), time.process_time() - start


def conclude(tokens, language):
    counts = vocabularies.no_counts()
    for some in tokens:
        chunks.count_chunk(counts, some, language)
    return vocabularies.conclude(counts, language)


def edit(tokens, vocabulary):
    filler = choose_filler("corpus", {}).with_vocabulary(vocabulary)
    return [
        chunks.lines_of(
            some,
            chunks.Chunk("train", k * chunks.CHUNK, 0),
            vocabulary=vocabulary,
            filler=filler,
            seed=0,
        )
        for k, some in enumerate(tokens)
    ]


if __name__ == "__main__":
    main()
