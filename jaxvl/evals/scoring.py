"""What a model says of any number of pictures and texts, as NumPy arrays on the host.

Everything is fed in padded batches of one shape and the padding is dropped afterwards, so that
neither the batch size nor the mesh changes a number. Every process gets all of the results.

Letters: I pictures, T texts, P pairs of a picture and a text, N image tokens, L text tokens,
D width, E embedding. Matching works on S pictures at a time with C texts each: a picture's
cross-attention keys are computed once for C texts.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvl.evals.feeding import outputs, padded_rows, put_rows
from jaxvl.evals.word_maps import make_word_maps
from jaxvl.sharding import replicated, to_global


class Pictures(NamedTuple):
    """Encoded pictures: image tokens (None without fusion), and unit embeddings in float32."""

    tokens_IxNxD: np.ndarray | None
    embeddings_IxE: np.ndarray


class Texts(NamedTuple):
    """Encoded texts: text tokens (None without fusion), which of them exist, and unit embeddings
    in float32."""

    states_TxLxD: np.ndarray | None
    mask_TxL: np.ndarray
    embeddings_TxE: np.ndarray


class Scorer(NamedTuple):
    """A model's answers; compiled once for all evaluators.

    pictures: (params, batches, *, count, progress) -> Pictures; batches as
      `jaxvl.data.batches.eval_images` yields them.
    texts: (params, tokens, *, progress) -> Texts of `jaxvl.data.text.tokenizer.Tokens`.
    match: (params, pictures, texts, pairs_Px2, *, progress) -> match logits float32 [P] of rows
      (picture, text).
    word_maps: what each token looks at, see `word_maps.make_word_maps`.
    The last two are None for a model without fusion.
    """

    pictures: Callable
    texts: Callable
    match: Callable | None
    word_maps: Callable | None


def make_scorer(config, *, model, mesh, batch_size):
    """Returns the Scorer of a Model. batch_size: pictures at once, over the whole mesh."""

    def jit(function):
        return jax.jit(function, out_shardings=replicated(mesh))

    @jit
    def encode_pictures(params, batch):
        v_GxNxD = model.encode_image(params, batch["image"])
        return {
            "index": batch["index"],
            "mask": batch["mask"],
            "tokens": v_GxNxD if model.fuse else None,
            "embeddings": model.project_image(params, v_GxNxD).astype(jnp.float32),
        }

    @jit
    def encode_texts(params, batch):
        t_GxLxD = model.encode_text(params, batch["ids"], batch["mask"], key=None)
        zt_GxE = model.project_text(params, t_GxLxD, batch["ids"])
        return {
            "states": t_GxLxD if model.fuse else None,
            "embeddings": zt_GxE.astype(jnp.float32),
        }

    def pictures(params, batches, *, count, progress):
        steps = -(-count // batch_size)
        inputs = (to_global(batch, mesh) for batch in batches)
        return _collect_pictures(
            outputs(encode_pictures, params, inputs, steps, label="pictures", progress=progress),
            count,
        )

    def texts(params, tokens, *, progress):
        tokens = without_common_padding(tokens)
        rows = rows_by_length(tokens.mask, config.data.token_lengths, batch_size=batch_size)
        inputs = (
            put_rows({"ids": tokens.ids[at, :length], "mask": tokens.mask[at, :length]}, mesh)
            for length, at in rows
        )
        found = outputs(encode_texts, params, inputs, len(rows), label="texts", progress=progress)
        joined = _collect_texts(found, [at for _, at in rows], count=len(tokens.ids))
        return Texts(joined["states"], tokens.mask, joined["embeddings"])

    if not model.fuse:
        return Scorer(pictures, texts, None, None)
    match = _make_match(model, mesh=mesh, batch_size=batch_size)
    word_maps = make_word_maps(config, model=model, mesh=mesh, batch_size=batch_size)
    return Scorer(pictures, texts, match, word_maps)


def without_common_padding(tokens):
    """Returns Tokens cut where all rows are padding, at a multiple of 8 to compile few lengths."""
    longest = int(tokens.mask.sum(axis=1).max())
    return type(tokens)(*(field[:, : -(-longest // 8) * 8] for field in tokens))


def rows_by_length(mask_TxL, lengths, *, batch_size):
    """Returns (length, rows [batch_size]) of batches that together have every text.

    lengths: a text is encoded at the first of these that holds it, else at L; so what is computed
    of it depends on no other text. The last batch of a length repeats its last row.
    """
    longest = mask_TxL.shape[1]
    lengths = np.array([*(length for length in lengths if length < longest), longest])
    length_T = lengths[np.searchsorted(lengths, mask_TxL.sum(axis=1))]
    alike = {length: np.flatnonzero(length_T == length) for length in np.unique(length_T)}
    return [
        (length, rows_t[at])
        for length, rows_t in alike.items()
        for at in padded_rows(len(rows_t), batch_size)
    ]


def _collect_texts(found, rows, *, count):
    whole = None
    for at, out in zip(rows, found):
        if whole is None:
            whole = jax.tree.map(lambda x: np.empty((count, *x.shape[1:]), x.dtype), out)
        for all_texts, some in zip(jax.tree.leaves(whole), jax.tree.leaves(out)):
            all_texts[at] = some
    return whole


def _make_match(model, *, mesh, batch_size):
    def match_units(params, batch):
        keys = model.image_keys(params, batch["tokens"])

        def one_text_a_picture(t_SxLxD, mask_SxL):
            states_SxLxD, _ = model.fuse(
                params,
                keys,
                t_SxLxD,
                mask_SxL,
                key=None,
                keep_GxN=None,
                probe=None,
                layer=None,
                first_only=True,
            )
            return model.match_logits(params, states_SxLxD)[:, 1]

        # The keys are not mapped over: they are neither computed nor copied once a text.
        over_texts = jax.vmap(one_text_a_picture, in_axes=1, out_axes=1)
        return over_texts(batch["states"], batch["mask"]).astype(jnp.float32)

    match_units = jax.jit(match_units, out_shardings=replicated(mesh))

    def match(params, pictures, texts, pairs_Px2, *, progress):
        if not len(pairs_Px2):
            return np.zeros(0, np.float32)
        most = batch_size // mesh.size  # pairs a device: on a CPU more at once are slower
        units = group_pairs(pairs_Px2, most=most)
        at_once = mesh.size * (most // units.texts_UxC.shape[1])
        rows = padded_rows(len(units.picture_U), at_once)
        inputs = (
            put_rows(
                {
                    "tokens": pictures.tokens_IxNxD[units.picture_U[at]],
                    "states": texts.states_TxLxD[units.texts_UxC[at]],
                    "mask": texts.mask_TxL[units.texts_UxC[at]],
                },
                mesh,
            )
            for at in rows
        )
        found = outputs(match_units, params, inputs, len(rows), label="pairs", progress=progress)
        logits_UxC = np.concatenate(list(found))
        return logits_UxC[units.unit_P, units.slot_P]

    return match


def _collect_pictures(found, count):
    all_pictures, seen_I = None, np.zeros(count, int)
    for out in found:
        mask, index = out["mask"], out["index"][out["mask"]]
        of_batch = Pictures(out["tokens"], out["embeddings"])
        if all_pictures is None:
            all_pictures = jax.tree.map(
                lambda x: np.empty((count, *x.shape[1:]), x.dtype), of_batch
            )
        for whole, rows in zip(jax.tree.leaves(all_pictures), jax.tree.leaves(of_batch)):
            whole[index] = rows[mask]
        np.add.at(seen_I, index, 1)
    if not (seen_I == 1).all():
        raise RuntimeError(f"evaluation: {(seen_I != 1).sum()} of {count} pictures not seen once")
    return all_pictures


class Units(NamedTuple):
    """Pairs in groups of one picture and C texts, and where each pair went.

    picture_U, texts_UxC: a unit's picture and texts; unused places hold text 0.
    unit_P, slot_P: the place of each pair.
    """

    picture_U: np.ndarray
    texts_UxC: np.ndarray
    unit_P: np.ndarray
    slot_P: np.ndarray


def group_pairs(pairs_Px2, *, most):
    """Returns Units of rows (picture, text) with C <= most, a power of two below that.

    Powers of two, since each C is compiled anew and the largest group differs between evaluations.
    """
    picture_P, text_P = pairs_Px2.T
    order_P = np.argsort(picture_P, kind="stable")
    _, first, of_P, counts = np.unique(
        picture_P[order_P], return_index=True, return_inverse=True, return_counts=True
    )
    size = min(most, 1 << int(counts.max() - 1).bit_length())
    place_P = np.arange(len(order_P)) - first[of_P]
    units = -(-counts // size)
    unit_P = (np.cumsum(units) - units)[of_P] + place_P // size
    picture_U = np.zeros(units.sum(), int)
    texts_UxC = np.zeros((units.sum(), size), int)
    picture_U[unit_P] = picture_P[order_P]
    texts_UxC[unit_P, place_P % size] = text_P[order_P]
    back_P = np.empty_like(order_P)
    back_P[order_P] = np.arange(len(order_P))
    return Units(picture_U, texts_UxC, unit_P[back_P], (place_P % size)[back_P])
