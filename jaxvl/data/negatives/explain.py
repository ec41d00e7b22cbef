"""Where a text came from, and what would be made of a caption and why."""

import json
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm

from jaxvl.data.negatives import KINDS, analysis, generator, run, slots, storage
from jaxvl.data.negatives import vocabulary as vocabularies

_SHOWN = 8  # rejected fills of a kind


def origins(directory, text):
    """Lines that say where `text` stands in a directory of negatives, as caption or negative."""
    sought, found = json.dumps(text, ensure_ascii=False).encode(), []
    for split in storage.read_meta(directory)["splits"]:
        with open(Path(directory) / f"{split}.jsonl", "rb") as lines:
            for line in lines:
                if sought in line:
                    entry = json.loads(line)
                    place = f"{split} example {entry['example']}, caption {entry['caption']}"
                    made = [each for each in entry["negatives"] if each and each["text"] == text]
                    if made:
                        found.append(f"{place}: made of {entry['text']!r}: {json.dumps(made[0])}")
                    elif entry["text"] == text:
                        found.append(f"{place}: a caption of the data set")
    return found


def stored_vocabulary(directory):
    """The Vocabulary that a directory of negatives was made with."""
    return vocabularies.from_json((Path(directory) / storage.VOCABULARY_FILE).read_text())


def count_vocabulary(data):
    """The Vocabulary of a data set's captions, as `run.write` takes it."""
    counts = vocabularies.no_counts()
    chunks = run.counted_chunks(run.chunks_of(data.splits))
    for chunk in tqdm(chunks, desc="reading the captions", unit="chunk"):
        content = run.analyse_chunk(data.captions(chunk.split, chunk.first, chunk.stop))
        run.count_chunk(counts, content)
    return vocabularies.conclude(counts)


def explain(caption, *, vocabulary, filler, seed):
    """What would be made of a caption that is the only one of its picture, as text."""
    reading = slots.read(analysis.analyse([caption])[0])
    picture = generator.picture_of([caption], [reading], vocabulary)
    tried = defaultdict(list)
    made = generator.negatives_of(
        picture,
        0,
        vocabulary=vocabulary,
        fill=filler.prepare([([caption], [reading])]),
        name=filler.name,
        seed=seed,
        place="explain",
        tell=lambda kind, what, why: tried[kind].append(f"{what}: {why}"),
    )
    lines = ["words: " + " ".join(f"{token.word}/{token.tag}" for token in reading.tokens)]
    lines += [
        f"slot: {slot.part} {slot.lemma!r} ({slot.form}), after {slot.near!r}, beside {slot.far!r}"
        for slot in reading.slots
    ]
    for kind, negative in zip(KINDS, made, strict=True):
        lines.append(f"{kind}: {json.dumps(negative, ensure_ascii=False) if negative else 'none'}")
        lines += [f"    not {what}" for what in tried[kind][:_SHOWN]]
        if len(tried[kind]) > _SHOWN:
            lines.append(f"    and {len(tried[kind]) - _SHOWN} more")
        if not negative and not tried[kind]:
            lines.append("    no word or pair of words that could be changed")
    return "\n".join(lines)
