"""A model's scores of any number of images and texts, as NumPy arrays on the host.

Everything is fed in padded batches of one shape and the padding is dropped afterwards, so neither
the batch size nor the mesh changes a number. Every process gets all of the results.

Letters: G rows of a batch, I images, T texts, P pairs of an image and a text, N image tokens,
L text tokens, D width, E embedding. Matching works on S images at a time with C texts each:
an image's cross-attention keys are computed once for C texts.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals.cosine_maps import make_cosine_maps
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.evals.feeding import outputs, padded_rows, put_rows
from jaxvl.evals.pairs import group_pairs
from jaxvl.evals.word_maps import make_word_maps
from jaxvl.sharding import replicated, to_global
from jaxvl.types import Model, Params


class Scorer(NamedTuple):
    """Compiled functions of one model, shared by all evaluators.

    images: (params, batches, *, count, progress, tokens=False) -> ImageFeatures; batches as
      `jaxvl.evals.feeding.image_batches` yields them. tokens: keep the image tokens where only
      heat-maps need them, in a model without a fusion encoder.
    texts: (params, tokens, *, progress) -> TextFeatures of `jaxvl.data.text.tokenizer.Tokens`.
    match: (params, images, texts, pairs_Px2, *, progress) -> match logits float32 [P, 2] of rows
      (image, text); `jaxvl.types` says which of the two is a match.
    word_maps: (params, images, texts, tokens, pairs_Px2, *, progress) -> iterator of
      (relevance_LxM, score) of rows (image, text), in their order. tokens: those of the texts. All
      tokens of a word have the same relevance of each patch, the others zeros. The score is the
      match probability, or the cosine in a model without a fusion encoder.
    match is None for a model without a fusion encoder, word_maps for one whose words cannot be
    explained.
    """

    images: Callable[..., ImageFeatures]
    texts: Callable[..., TextFeatures]
    match: Callable[..., np.ndarray] | None
    word_maps: Callable[..., Iterator[tuple[np.ndarray, float]]] | None


def make_scorer(config: ConfigDict, *, model: Model, mesh: Mesh, batch_size: int) -> Scorer:
    """Returns the Scorer of a Model. batch_size: images at once, over the whole mesh.

    Of the configuration it reads data.token_lengths and, for heat-maps, softmask.
    """
    images = _make_images(model, mesh=mesh, batch_size=batch_size)
    texts = _make_texts(model, mesh=mesh, batch_size=batch_size, lengths=config.data.token_lengths)
    if not model.fuse:
        if not model.look:
            return Scorer(images, texts, None, None)
        word_maps = make_cosine_maps(model=model, texts=texts, mesh=mesh, batch_size=batch_size)
        return Scorer(images, texts, None, word_maps)
    match = _make_match(model, mesh=mesh, batch_size=batch_size)
    word_maps = make_word_maps(config, model=model, mesh=mesh, batch_size=batch_size)
    return Scorer(images, texts, match, word_maps)


def _make_images(model, *, mesh, batch_size):
    def encode(params, batch, tokens):
        v_GxNxD = model.encode_image(params, batch["image"])
        return {
            "index": batch["index"],
            "mask": batch["mask"],
            "tokens": v_GxNxD if tokens else None,
            "embeddings": model.project_image(params, v_GxNxD).astype(jnp.float32),
        }

    encode = jax.jit(encode, out_shardings=replicated(mesh), static_argnames="tokens")

    def images(
        params: Params,
        batches: Iterable[Any],
        *,
        count: int,
        progress: bool,
        tokens: bool = False,
    ) -> ImageFeatures:
        steps = -(-count // batch_size)
        inputs = (to_global(batch, mesh) for batch in batches)
        step = functools.partial(encode, tokens=bool(model.fuse) or tokens)
        found = outputs(step, params, inputs, steps, label="images", progress=progress)
        return _collect_images(found, count)

    return images


def _collect_images(found, count):
    collected, seen_I = ImageFeatures(None, np.zeros(0)), np.zeros(count, int)
    for out in found:
        mask, index = out["mask"], out["index"][out["mask"]]
        features = ImageFeatures(out["tokens"], out["embeddings"])
        if not seen_I.any():
            collected = jax.tree.map(lambda x: np.empty((count, *x.shape[1:]), x.dtype), features)
        for whole, rows in zip(jax.tree.leaves(collected), jax.tree.leaves(features)):
            whole[index] = rows[mask]
        np.add.at(seen_I, index, 1)
    if not (seen_I == 1).all():
        raise RuntimeError(f"evaluation: {(seen_I != 1).sum()} of {count} images not seen once")
    return collected


def _make_texts(model, *, mesh, batch_size, lengths):
    def encode(params, batch):
        t_GxLxD = model.encode_text(params, batch["ids"], batch["mask"], key=None)
        zt_GxE = model.project_text(params, t_GxLxD, batch["ids"])
        return {
            "states": t_GxLxD if model.fuse else None,
            "embeddings": zt_GxE.astype(jnp.float32),
        }

    encode = jax.jit(encode, out_shardings=replicated(mesh))

    def texts(params: Params, tokens: Tokens, *, progress: bool) -> TextFeatures:
        tokens = without_common_padding(tokens)
        rows = rows_by_length(tokens.mask, lengths, batch_size=batch_size)
        inputs = (
            put_rows({"ids": tokens.ids[at, :length], "mask": tokens.mask[at, :length]}, mesh)
            for length, at in rows
        )
        found = outputs(encode, params, inputs, len(rows), label="texts", progress=progress)
        joined = _collect_texts(found, [at for _, at in rows], count=len(tokens.ids))
        return TextFeatures(joined["states"], tokens.mask, joined["embeddings"])

    return texts


def without_common_padding(tokens: Tokens) -> Tokens:
    """Returns Tokens without the columns that are padding in all rows.

    The length that is left is a multiple of 8, so that few lengths are compiled.
    """
    longest = int(tokens.mask.sum(axis=1).max())
    return Tokens(*(field[:, : -(-longest // 8) * 8] for field in tokens))


def rows_by_length(
    mask_TxL: np.ndarray, lengths: Sequence[int], *, batch_size: int
) -> list[tuple[int, np.ndarray]]:
    """Returns (length, rows [batch_size]) of batches that together have every text.

    lengths: a text is encoded at the shortest of these that holds it, else at L, so its result
    depends on no other text. The last batch of a length repeats its last row.
    """
    longest = mask_TxL.shape[1]
    allowed = np.array([*(length for length in lengths if length < longest), longest])
    length_T = allowed[np.searchsorted(allowed, mask_TxL.sum(axis=1))]
    alike = {int(length): np.flatnonzero(length_T == length) for length in np.unique(length_T)}
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
    assert whole is not None, "evaluation: no text"
    return whole


def _make_match(model, *, mesh, batch_size):
    def match_units(params, batch):
        keys = model.image_keys(params, batch["tokens"])

        def one_text_an_image(t_SxLxD, mask_SxL):
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
            return model.match_logits(params, states_SxLxD)

        # The keys are not mapped over: they are neither computed nor copied once a text.
        over_texts = jax.vmap(one_text_an_image, in_axes=1, out_axes=1)
        return over_texts(batch["states"], batch["mask"]).astype(jnp.float32)

    match_units = jax.jit(match_units, out_shardings=replicated(mesh))

    def match(
        params: Params,
        images: ImageFeatures,
        texts: TextFeatures,
        pairs_Px2: np.ndarray,
        *,
        progress: bool,
    ) -> np.ndarray:
        if not len(pairs_Px2):
            return np.zeros((0, 2), np.float32)
        assert images.tokens_IxNxD is not None and texts.states_TxLxD is not None
        tokens_IxNxD, states_TxLxD = images.tokens_IxNxD, texts.states_TxLxD
        most = batch_size // mesh.size  # pairs on a device: larger batches are slower on a CPU
        units = group_pairs(pairs_Px2, most=most)
        at_once = mesh.size * (most // units.texts_UxC.shape[1])
        rows = padded_rows(len(units.image_U), at_once)
        inputs = (
            put_rows(
                {
                    "tokens": tokens_IxNxD[units.image_U[at]],
                    "states": states_TxLxD[units.texts_UxC[at]],
                    "mask": texts.mask_TxL[units.texts_UxC[at]],
                },
                mesh,
            )
            for at in rows
        )
        found = outputs(match_units, params, inputs, len(rows), label="pairs", progress=progress)
        logits_UxCx2 = np.concatenate(list(found))
        return logits_UxCx2[units.unit_P, units.slot_P]

    return match
