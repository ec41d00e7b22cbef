"""Audit of heat-maps: for which words can they be believed, and how far?

A map is compared with three others: one fixed map of the same word, the map of the same model with
shuffled weights (Adebayo et al. 2018), and random patches. docs/audit.md says what each figure
means and how it can mislead.

Letters: K occurrences of a word in a caption, R words of all captions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvl import files
from jaxvl.data.negatives.english.words import ATTRIBUTES
from jaxvl.data.text.tokenizer import Tokens
from jaxvl.errors import require
from jaxvl.evals import map_measures
from jaxvl.evals.examples import Examples
from jaxvl.evals.map_measures import Occurrences
from jaxvl.keys import Key
from jaxvl.types import Evaluator, EvaluatorComponent

if TYPE_CHECKING:
    from jaxvl.evals.audit_maps import Chosen

DEFAULTS = {"occurrences": 40, "least": 10, "share": 0.2}
FOLDER = "audit"
DRAW = 10  # stream of random draws


class Findings(NamedTuple):
    """The rows of `map_measures.rows`, the words flagged most often first."""

    rows: list[dict[str, Any]]
    folder: str = FOLDER

    def write(self, directory: Path, name: str) -> Path:
        """Writes DIRECTORY/words.json and words.md. Returns the path of the latter."""
        del name
        files.make_folder(directory)
        files.write_json(directory / "words.json", {"words": self.rows})
        files.write_text(directory / "words.md", markdown(self.rows))
        return directory / "words.md"


def make(config: ConfigDict, *, scorer, examples: Examples) -> Evaluator:
    """Returns the Evaluator: means over all occurrences, and the share of words that are flagged.

    Results are those of `map_measures.measure`, `explained_by_one_map`, `words` (how many occur
    often enough to be judged) and `flagged`, a share of these. Means of kinds of attributes follow
    as `colour/pointing`. Its findings are one row a word.
    """
    from jaxvl.evals import audit_maps

    options = {**DEFAULTS, **config.evals.audit}
    chosen = choose(examples, options, seed=config.seed)

    def findings(params, progress=False):
        run = audit_maps.Run(config, scorer, examples, chosen, params, progress)
        found = audit_maps.occurrences(run, share=options["share"])
        table = map_measures.rows(found, least=options["least"])
        return summary(found, table), Findings(sorted(table, key=lambda row: -len(row["flags"])))

    return Evaluator(lambda params, progress=False: findings(params, progress)[0], findings)


def choose(examples: Examples, options: Mapping[str, Any], *, seed: int) -> "Chosen":
    """Returns the Chosen: a drawn caption of each image, and of each word drawn occurrences."""
    from jaxvl.evals.audit_maps import Chosen
    from jaxvl.evals.cosine_maps import without_each_word

    rng = np.random.default_rng((seed, DRAW))
    captions = [int(rng.integers(len(record["captions"]))) for record in examples.records]
    texts = [record["captions"][c] for record, c in zip(examples.records, captions)]
    tokens = examples.tokenize(texts)
    without, image_R, word_R = without_each_word(tokens)
    spelt = [examples.words(text) for text in texts]
    words_R = [spelt[i][w].lower() for i, w in zip(image_R, word_R)]
    kept, count = [], dict.fromkeys(words_R, 0)
    for row in rng.permutation(len(words_R)):
        count[words_R[row]] += 1
        if count[words_R[row]] <= options["occurrences"]:
            kept.append(row)
    kept = np.sort(np.array(kept, int))
    image_K, word_K = image_R[kept], word_R[kept]
    named = [_boxes(record, caption) for record, caption in zip(examples.records, captions)]
    return Chosen(
        tokens,
        Tokens(*(field[kept] for field in without)),
        [words_R[row] for row in kept],
        image_K,
        np.array([int(np.argmax(tokens.words[i] == w)) for i, w in zip(image_K, word_K)], int),
        [named[i].get(w) for i, w in zip(image_K, word_K)],
    )


def _boxes(record, caption):
    """Returns {word: box} of a caption of a record."""
    rows = np.reshape(record["mentions"], (-1, 3)).tolist()
    return {word: record["boxes"][thing] for c, word, thing in rows if c == caption}


def summary(found: Occurrences, table: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the results of the evaluator. table: of `map_measures.rows`."""
    measures, kind_K = map_measures.measure(found), kinds(found.words)
    explained = map_measures.explained_by_one_map(found.words, found.own_KxM)
    results = {name: map_measures.mean(value_K) for name, value_K in measures.items()}
    results["explained_by_one_map"] = float(np.mean(list(explained.values())))
    for kind in sorted(set(kind_K) - {""}):
        of = {name: value_K[kind_K == kind] for name, value_K in measures.items()}
        for name in ("pointing", "covering", "joint", "selectivity"):
            results[f"{kind}/{name}"] = map_measures.mean(of[name])
    flagged = [bool(row["flags"]) for row in table]
    results |= {"flagged": float(np.mean(flagged))} if flagged else {}
    whole = {"words": len(table), "occurrences": len(found.words)}
    return {**{name: value for name, value in results.items() if value is not None}, **whole}


def kinds(words: Sequence[str]) -> np.ndarray:
    """Returns [K]: the kind of attribute that a word names, as "colour"; "" for other words."""
    kind_of = {
        word: kind
        for kind, groups in ATTRIBUTES.items()
        for group in groups
        for word in group.split()
    }
    return np.array([kind_of.get(word, "") for word in words])


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows as a Markdown table, in percent."""
    columns = ("pointing", "pointing_fixed", "pointing_shuffled", "covering")
    columns += ("joint", "selectivity", "explained_by_one_map")
    names = ", ".join(columns)
    lines = [
        "# Can the heat-maps of a word be believed?",
        "",
        f"In percent: {names}. docs/audit.md says what they mean.",
        "",
        f"| word | occurrences | {' | '.join(columns)} | flags |",
        f"|---|---|{'---|' * len(columns)}---|",
    ]
    for row in rows:
        cells = ["" if row[name] is None else f"{100 * row[name]:.0f}" for name in columns]
        word = str(row["word"]).replace("|", "\\|")
        lines.append(
            f"| {word} | {row['occurrences']} | {' | '.join(cells)} | {'; '.join(row['flags'])} |"
        )
    return "\n".join(lines) + "\n"


def _missing(records: Sequence[Mapping], scorer) -> str:
    return "" if scorer.word_maps else "is evaluated with a model whose words cannot be explained"


def _check(config: ConfigDict) -> None:
    given = config.evals.audit
    require(
        hasattr(given, "keys") and set(given) <= set(DEFAULTS),
        f"evals.audit needs None, or a dict with some of {', '.join(DEFAULTS)}",
    )
    options = {**DEFAULTS, **given}
    for name in ("occurrences", "least"):
        require(
            isinstance(options[name], int) and options[name] >= 2,
            f"evals.audit.{name}={options[name]!r} is not a whole number of at least 2",
        )
    share = options["share"]
    require(
        isinstance(share, (int, float)) and 0 < share < 1,
        f"evals.audit.share={share!r} is not between 0 and 1",
    )


AUDIT = EvaluatorComponent(
    make,
    keys={
        "evals": {
            "audit": Key(
                None,
                "heat-maps of words: None, {} for the defaults, or "
                + repr(DEFAULTS).replace("'", '"'),
            )
        }
    },
    check=_check,
    missing=_missing,
)
