"""The origin of a text, and the negatives of any caption with the reasons for them."""

import json
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm

from jaxvl import files
from jaxvl.data.negatives import chunks, storage
from jaxvl.data.negatives import vocabulary as vocabularies
from jaxvl.data.negatives.captions import CaptionSet, open_captions
from jaxvl.data.negatives.edits import KINDS
from jaxvl.data.negatives.filler import ChosenFiller, Filler
from jaxvl.data.negatives.generator import negatives_of
from jaxvl.data.negatives.image_facts import facts_of
from jaxvl.data.negatives.languages import LANGUAGES, language_of
from jaxvl.data.negatives.vocabulary import Vocabulary

_SHOWN = 8  # rejected changes of a kind


def explanation_of(
    text: str, *, directory: str, builder: str, out: str, filler: ChosenFiller, seed: int
) -> str:
    """Returns where a text stands in the negatives `out`, and what is made of it and why.

    directory, builder: the data set, as in `open_captions`; its captions are counted only where
    there are no negatives at `out`. Raises UserError where a package or a data set is missing.
    """
    if out and files.is_filled(out):
        places = places_of(out, text) or [f"not in {out}"]
        vocabulary = stored_vocabulary(out)
    else:
        places = []
        vocabulary = count_vocabulary(open_captions(directory, builder), filler.name)
    LANGUAGES[vocabulary.language].check_installed()
    ready = filler.with_vocabulary(vocabulary)
    return "\n".join(places + _negatives_with_reasons(text, vocabulary, ready, seed))


def places_of(directory: Path | str, text: str) -> list[str]:
    """Returns a line for each place of `text` in a directory of negatives."""
    sought, places = json.dumps(text, ensure_ascii=False).encode(), []
    for split in storage.read_meta(directory)["splits"]:
        with open(Path(directory) / f"{split}.jsonl", "rb") as lines:
            for line in lines:
                if sought in line:
                    entry = json.loads(line)
                    place = f"{split} example {entry['example']}, caption {entry['caption']}"
                    same = [each for each in entry["negatives"] if each and each["text"] == text]
                    if same:
                        places.append(f"{place}: made of {entry['text']!r}: {json.dumps(same[0])}")
                    elif entry["text"] == text:
                        places.append(f"{place}: a caption of the data set")
    return places


def stored_vocabulary(directory: Path | str) -> Vocabulary:
    """Returns the Vocabulary that a directory of negatives was made with."""
    path = Path(directory) / storage.VOCABULARY_FILE
    return vocabularies.from_json(path.read_text(encoding="utf-8"))


def count_vocabulary(data: CaptionSet, filler: str) -> Vocabulary:
    """Returns the Vocabulary of a data set's captions, the same as `run.write_negatives` uses."""
    counts, language = vocabularies.no_counts(), language_of(data, filler)
    parts = chunks.counted_chunks(chunks.chunks_of(data.splits))
    for chunk in tqdm(parts, desc="reading the captions", unit="chunk"):
        captions = data.captions(chunk.split, chunk.first, chunk.stop)
        chunks.count_chunk(counts, chunks.tokens_of(captions, language), language)
    return vocabularies.conclude(counts, language)


def _negatives_with_reasons(
    caption: str, vocabulary: Vocabulary, filler: Filler, seed: int
) -> list[str]:
    """Returns lines about the negatives of a caption that is the only one of its image."""
    language = LANGUAGES[vocabulary.language]
    reading = language.read(language.analyse([caption])[0])
    rejected = defaultdict(list)
    negatives = negatives_of(
        facts_of([caption], [reading], vocabulary),
        0,
        vocabulary=vocabulary,
        fill=filler.prepare([([caption], [reading])]),
        filler_name=filler.name,
        seed=seed,
        place="explain",
        report=lambda kind, tried, why: rejected[kind].append(f"{tried}: {why}"),
    )
    lines = ["words: " + " ".join(f"{token.word}/{token.tag}" for token in reading.tokens)]
    lines += [
        f"slot: {slot.part} {slot.lemma!r} ({slot.form}), near {slot.near!r}, far {slot.far!r}"
        for slot in reading.slots
    ]
    for kind, negative in zip(KINDS, negatives, strict=True):
        lines.append(f"{kind}: {json.dumps(negative, ensure_ascii=False) if negative else 'none'}")
        lines += [f"    not {what}" for what in rejected[kind][:_SHOWN]]
        if len(rejected[kind]) > _SHOWN:
            lines.append(f"    and {len(rejected[kind]) - _SHOWN} more")
        if not negative and not rejected[kind]:
            lines.append("    no word or pair of words that could be changed")
    return lines
