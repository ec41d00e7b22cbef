"""Words of a masked language model (BERT, RoBERTa), which is read from a local folder and run here.

The model ranks words for a place in the caption. The word is drawn from the best ones, among the
words that the data set itself has in the same form (`vocabulary.forms`), so that part of speech and
inflection are kept. Letters: G slots of a batch, L tokens, V vocabulary, T best words.
"""

import functools
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvl.data.negatives.filler import (
    Candidate,
    Example,
    Fill,
    FillerComponent,
    FillerInputs,
    Option,
    Prepare,
)
from jaxvl.data.negatives.reading import Slot
from jaxvl.errors import UserError

BATCH = 64  # G
LENGTHS = (16, 32, 64)  # L; one program is compiled for each
BEST = 64  # T


class Ranking(NamedTuple):
    """The best tokens for a place, and their probabilities."""

    tokens: list[int]
    probabilities: list[float]


def make_mlm_filler(inputs: FillerInputs) -> Prepare:
    """Returns `Filler.prepare`; the score is the model's probability of the word.

    Raises UserError where the folder --weights holds no masked language model with its tokenizer.
    """
    folder = inputs.options["weights"]
    best_words = _best_words(*inputs.read_language_model(folder))
    tokenizer = _open_tokenizer(folder)
    words = _whole_words(tokenizer)
    lemmas = {
        key: {written: lemma for lemma, written in sorted(forms.items())}
        for key, forms in inputs.vocabulary.forms.items()
    }

    def prepare(examples: list[Example]) -> Fill:
        asked = [
            (caption, slot)
            for captions, readings in examples
            for caption, reading in zip(captions, readings, strict=True)
            for slot in reading.slots
        ]
        distinct = {_place(caption, slot): (caption, slot) for caption, slot in asked}
        rankings = _rank(best_words, tokenizer, list(distinct.values()))
        ranking_of = dict(zip(distinct, rankings, strict=True))

        def fill(caption: str, slot: Slot, rng: random.Random) -> Iterator[Candidate]:
            known = lemmas.get(f"{slot.part}|{slot.form}", {})
            drawn = []
            for token, probability in zip(*ranking_of[_place(caption, slot)]):
                word = words[token]
                if word in known:  # drawn without replacement, as likely as the model says
                    turn = np.log(max(rng.random(), 1e-300)) / max(probability, 1e-12)
                    drawn.append((turn, known[word], word, round(probability, 6)))
            for _, lemma, word, probability in sorted(drawn, reverse=True):
                yield lemma, word, probability

        return fill

    return prepare


def _place(caption: str, slot: Slot) -> tuple[str, int, int]:
    return caption, slot.start, slot.end


def _best_words(model: Any, params: Any) -> Callable:
    """Returns a jitted (ids_GxL, mask_GxL, at_G) -> (tokens_GxT, probabilities_GxT)."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def best_words(params, ids_GxL, mask_GxL, at_G):
        t_GxLxD = model.encode(params, ids_GxL, mask_GxL)
        t_Gx1xD = jnp.take_along_axis(t_GxLxD, at_G[:, None, None], axis=1)
        p_GxV = jax.nn.softmax(model.word_logits(params, t_Gx1xD)[:, 0])
        p_GxT, token_GxT = jax.lax.top_k(p_GxV, min(BEST, p_GxV.shape[1]))
        return token_GxT, p_GxT

    return functools.partial(best_words, params)


def _open_tokenizer(folder: str) -> Any:
    """Returns the tokenizer of a folder; RoBERTa's may be vocab.json with merges.txt."""
    import tokenizers

    from jaxvl.data.text import tokenizer as tokenizer_lib

    vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
    if not (Path(folder) / "tokenizer.json").is_file() and merges.is_file():
        tokenizer = tokenizers.ByteLevelBPETokenizer(str(vocabulary), str(merges))
    else:
        tokenizer = tokenizer_lib.load(folder)
    if tokenizer_lib.special_ids(tokenizer).mask < 0:
        raise UserError(f"--weights {folder}: its tokenizer has no mask token")
    return tokenizer


def _whole_words(tokenizer: Any) -> dict[int, str]:
    """Returns {token id: its word}, "" for parts of words and for signs."""
    vocabulary = tokenizer.get_vocab()
    spaced = any(token.startswith("Ġ") for token in vocabulary)  # a space begins a word
    words = {}
    for token, number in vocabulary.items():
        whole = token.startswith("Ġ") if spaced else not token.startswith("##")
        text = token.removeprefix("Ġ")
        words[number] = text.lower() if whole and text.isalpha() else ""
    return words


def _rank(best_words: Callable, tokenizer: Any, asked: list[tuple[str, Slot]]) -> list[Ranking]:
    """Returns the Ranking for the place of each (caption, slot), in order."""
    from jaxvl.data.text.tokenizer import special_ids

    special = special_ids(tokenizer)
    rows = [_masked(tokenizer, special, caption, slot) for caption, slot in asked]
    rankings: dict[int, Ranking] = {}
    shorter = 0
    for length in LENGTHS:
        here = [k for k, (ids, _) in enumerate(rows) if shorter < len(ids) <= length]
        for start in range(0, len(here), BATCH):
            chosen = here[start : start + BATCH]
            batch = _padded([rows[k] for k in chosen], length, special.pad)
            tokens_GxT, p_GxT = (np.asarray(value) for value in best_words(*batch))
            for row, k in enumerate(chosen):
                rankings[k] = Ranking(tokens_GxT[row].tolist(), p_GxT[row].tolist())
        shorter = length
    return [rankings[k] for k in range(len(rows))]


def _masked(tokenizer: Any, special: Any, caption: str, slot: Slot) -> tuple[list[int], int]:
    """Returns the token ids of a caption with a mask for the slot, and the mask's position."""
    left, right = (
        tokenizer.encode(text, add_special_tokens=False).ids
        for text in (caption[: slot.start].rstrip(), caption[slot.end :])
    )
    left = left[-(LENGTHS[-1] // 2) :]
    right = right[: LENGTHS[-1] - len(left) - 3]
    return [special.cls, *left, special.mask, *right, special.sep], len(left) + 1


def _padded(rows: list[tuple[list[int], int]], length: int, pad: int) -> tuple[np.ndarray, ...]:
    """Returns (ids_GxL, mask_GxL, at_G) of up to G rows."""
    ids_GxL = np.full((BATCH, length), max(pad, 0), np.int32)
    mask_GxL, at_G = np.zeros((BATCH, length), bool), np.zeros(BATCH, np.int32)
    mask_GxL[:, 0] = True  # padding rows need a token too
    for row, (ids, at) in enumerate(rows):
        ids_GxL[row, : len(ids)], mask_GxL[row, : len(ids)], at_G[row] = ids, True, at
    return ids_GxL, mask_GxL, at_G


def _check(options: Mapping[str, Any]) -> None:
    if not options["weights"]:
        raise UserError(
            "--filler mlm needs --weights DIR, a Hugging Face folder of BERT or RoBERTa with its "
            "tokenizer"
        )


MLM = FillerComponent(
    make_mlm_filler,
    meaning="a masked language model",
    options=(Option("weights", "DIR", "Hugging Face folder of a BERT or RoBERTa"),),
    check=_check,
    in_processes=False,  # it uses all cores in one
)
