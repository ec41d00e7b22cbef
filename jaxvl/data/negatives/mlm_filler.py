"""Fills of a masked language model (BERT, RoBERTa): read from a local folder, run here.

The model ranks words for a place; what is put in is drawn from the best of them, among the words
that the data set itself has in the same form (`vocabulary.forms`): so part of speech and
inflection are kept. Letters: G slots of a batch, L tokens, V vocabulary, T best.
"""

import functools

import numpy as np

from jaxvl.data.negatives.generator import Filler
from jaxvl.errors import UserError

BATCH = 64  # G
LENGTHS = (16, 32, 64)  # L, so that three programs are compiled at most
BEST = 64  # T


def make(vocabulary, weights):
    """Returns the `generator.Filler` of the model in a Hugging Face folder.

    The score of a fill is the model's probability. Raises UserError where the folder holds no
    masked language model with its tokenizer.
    """
    best, tokenizer = _open(weights)
    words = _words(tokenizer)
    lemmas = {
        key: {written: lemma for lemma, written in sorted(forms.items())}
        for key, forms in vocabulary.forms.items()
    }

    def prepare(examples):
        asked = [
            (caption, slot)
            for captions, readings in examples
            for caption, reading in zip(captions, readings, strict=True)
            for slot in reading.slots
        ]
        asked = {_key(caption, slot): (caption, slot) for caption, slot in asked}
        ranked = _rank(best, tokenizer, list(asked.values()))
        table = dict(zip(asked, ranked, strict=True))

        def fill(caption, slot, rng):
            known = lemmas.get(f"{slot.part}|{slot.form}", {})
            found = []
            for token, probability in zip(*table[_key(caption, slot)]):
                word = words[token]
                if word in known:  # drawn without putting back, as likely as the model says
                    turn = np.log(max(rng.random(), 1e-300)) / max(float(probability), 1e-12)
                    found.append((turn, known[word], word, round(float(probability), 6)))
            for _, lemma, word, probability in sorted(found, reverse=True):
                yield lemma, word, probability

        return fill

    return Filler("mlm", prepare)


def _key(caption, slot):
    return caption, slot.start, slot.end


def _open(weights):
    """Returns (jitted (ids_GxL, mask_GxL, at_G) -> (tokens_GxT, probabilities_GxT), tokenizer)."""
    import jax
    import jax.numpy as jnp

    from jaxvl.interop.masked_lm import load_masked_lm

    model, params, _ = load_masked_lm(weights, words=True)

    @jax.jit
    def best(params, ids_GxL, mask_GxL, at_G):
        t_GxLxD = model.encode(params, ids_GxL, mask_GxL)
        t_Gx1xD = jnp.take_along_axis(t_GxLxD, at_G[:, None, None], axis=1)
        p_GxV = jax.nn.softmax(model.word_logits(params, t_Gx1xD)[:, 0])
        p_GxT, token_GxT = jax.lax.top_k(p_GxV, min(BEST, p_GxV.shape[1]))
        return token_GxT, p_GxT

    return functools.partial(best, params), _tokenizer(weights)


def _tokenizer(weights):
    """The folder's tokenizer; RoBERTa's may be vocab.json and merges.txt."""
    from pathlib import Path

    import tokenizers

    from jaxvl.data.text import tokenizer as loading

    folder = Path(weights)
    if not (folder / "tokenizer.json").is_file() and (folder / "merges.txt").is_file():
        files = str(folder / "vocab.json"), str(folder / "merges.txt")
        found = tokenizers.ByteLevelBPETokenizer(*files)
    else:
        found = loading.load(weights)
    if loading.special_ids(found).mask < 0:
        raise UserError(f"--weights {weights}: its tokenizer has no mask token")
    return found


def _words(tokenizer):
    """Token id -> the whole word it is, "" for pieces and signs. A space marks a word's start."""
    spaced = any(token.startswith("Ġ") for token in tokenizer.get_vocab())
    found = {}
    for token, number in tokenizer.get_vocab().items():
        whole = token.startswith("Ġ") if spaced else not token.startswith("##")
        text = token.removeprefix("Ġ")
        found[number] = text.lower() if whole and text.isalpha() else ""
    return found


def _rank(best, tokenizer, asked):
    """For each (caption, slot): (tokens [T], probabilities [T]) in the slot's place."""
    from jaxvl.data.text.tokenizer import special_ids

    special, rows = special_ids(tokenizer), []
    for caption, slot in asked:
        left, right = (
            tokenizer.encode(text, add_special_tokens=False).ids
            for text in (caption[: slot.start].rstrip(), caption[slot.end :])
        )
        left = left[-(LENGTHS[-1] // 2) :]
        right = right[: LENGTHS[-1] - len(left) - 3]
        rows.append(([special.cls, *left, special.mask, *right, special.sep], len(left) + 1))
    results = [None] * len(rows)
    for length in LENGTHS:
        shorter = max((size for size in LENGTHS if size < length), default=0)
        here = [k for k, (ids, _) in enumerate(rows) if shorter < len(ids) <= length]
        for start in range(0, len(here), BATCH):
            chosen = here[start : start + BATCH]
            token_GxT, p_GxT = _batch(best, [rows[k] for k in chosen], length, special.pad)
            for row, k in enumerate(chosen):
                results[k] = token_GxT[row].tolist(), p_GxT[row].tolist()
    return results


def _batch(best, rows, length, pad):
    ids_GxL = np.full((BATCH, length), max(pad, 0), np.int32)
    mask_GxL, at_G = np.zeros((BATCH, length), bool), np.zeros(BATCH, np.int32)
    mask_GxL[:, 0] = True  # rows that only fill the batch up
    for row, (ids, at) in enumerate(rows):
        ids_GxL[row, : len(ids)], mask_GxL[row, : len(ids)], at_G[row] = ids, True, at
    return tuple(np.asarray(value) for value in best(ids_GxL, mask_GxL, at_G))
