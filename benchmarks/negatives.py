"""Captions a second a core for which hard negatives are made, spaCy included.

    python benchmarks/negatives.py --captions metadata.jsonl

Processor time (which other work on the machine distorts least) of what `jaxvl negatives`
does in each worker with the filler `corpus`: tagging, counting, editing, and the JSON in between.
Loading of the model is told apart. The last line is a JSON object.
"""

import argparse
import itertools
import json
import os
import time

from jaxvl.data.negatives import corpus_filler, run
from jaxvl.data.negatives import vocabulary as vocabularies


def main():
    flags = parse_flags()
    captions = read_captions(flags)
    chunks = [captions[k : k + run.CHUNK] for k in range(0, len(captions), run.CHUNK)]
    _, loading = timed(lambda: run.analyse_chunk([["A dog runs on the beach."]]))
    contents, analysing = timed(lambda: [run.analyse_chunk(texts) for texts in chunks])
    vocabulary, counting = timed(lambda: conclude(contents))
    lines, editing = timed(lambda: edit(contents, vocabulary))
    count = sum(map(len, captions))
    steps = {"analysing": analysing, "counting": counting, "editing": editing}
    print(
        json.dumps(
            {
                "captions": count,
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


def conclude(contents):
    counts = vocabularies.no_counts()
    for content in contents:
        run.count_chunk(counts, content)
    return vocabularies.conclude(counts)


def edit(contents, vocabulary):
    filler = corpus_filler.make(vocabulary)
    return [
        run.generate_chunk(
            content,
            run.Chunk("train", k * run.CHUNK, 0),
            vocabulary=vocabulary,
            filler=filler,
            seed=0,
        )
        for k, content in enumerate(contents)
    ]


if __name__ == "__main__":
    main()
