"""Share of generated negatives that are false of the image, on Scenes, where the truth is known.

    jaxvl prepare scenes --out data/scenes --train 2000 --eval 200 --size 32
    jaxvl negatives --data data/scenes --out data/scenes_negatives
    python benchmarks/negatives_quality.py --data data/scenes --negatives data/scenes_negatives

Most statements about a scene are false: 99.6 % of negatives were false of an image that they were
not made for. So the captions are checked as well; they must be true.

A negative is parsed by the grammar of Scenes' captions. Texts that the grammar cannot read ("we see
a circle" with another verb), and debatable ones (a thing that is only a little to the left), are
counted separately. The last line is a JSON object.
"""

import argparse
import collections
import json
from pathlib import Path

from jaxvl.data import scenes, store
from jaxvl.data.negatives import storage
from jaxvl.data.scenes.truth import judge, parse
from jaxvl.errors import UserError


def main():
    flags = parse_flags()
    meta, made = store.read_meta(flags.data), storage.read_meta(flags.negatives)
    if meta["kind"] != "scenes" or meta["fingerprint"] != made["fingerprint"]:
        raise UserError("--negatives were not made from --data, or --data is not Scenes")
    if meta["generator_version"] != scenes.VERSION:
        raise UserError("--data was rendered by another version of Scenes: prepare it again")
    verdicts, mistakes = collections.Counter(), []
    for split in meta["splits"]:
        for entry, negative, verdict in judged(flags.negatives, split, meta):
            verdicts[negative["type"], verdict] += 1
            if verdict == "true":
                mistakes.append(f"{entry['text']!r} -> {negative['text']!r} ({negative['type']})")
    for mistake in mistakes[: flags.show]:
        print("true:", mistake)
    print(json.dumps(summary(verdicts, made)))


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--negatives", required=True)
    parser.add_argument("--show", type=int, default=10, help="negatives that are true")
    return parser.parse_args()


def judged(directory, split, meta):
    """Yields (line, negative, "false" | "true" | "debatable" | "not read")."""
    made = {"seed": meta["seed"], "level": meta.get("level", scenes.DEFAULT_LEVEL)}
    world, number = None, -1
    with open(Path(directory) / f"{split}.jsonl") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["example"] != number:
                number = entry["example"]
                world = scenes.world(number, split=split, **made)
            if not scenes.holds(entry["text"], world):
                raise UserError(f"{split} {number}: {entry['text']!r} is not true of its image")
            for negative in filter(None, entry["negatives"]):
                statement = parse(negative["text"])
                if statement is None:
                    yield entry, negative, "not read"
                else:
                    verdict = judge(statement, world)
                    yield entry, negative, "debatable" if verdict is None else str(verdict).lower()


def summary(verdicts, made):
    """Shares of each kind and of all."""
    shares = {}
    for kind in (*made["kinds"], "all"):
        count = {
            verdict: sum(n for (k, v), n in verdicts.items() if v == verdict and kind in (k, "all"))
            for verdict in ("false", "true", "debatable", "not read")
        }
        clear, total = count["false"] + count["true"], sum(count.values())
        shares[kind] = {
            "made": total,
            "judged": round(clear / max(1, total), 4),
            "false_of_judged": round(count["false"] / max(1, clear), 4),
            **count,
        }
    return {"captions": made["captions"], "filler": made["filler"], **shares}


if __name__ == "__main__":
    main()
