"""SoftMask with hard negatives: in its contrastive loss, in its matching, and with AHNPL's losses.

No published system combines the two. With AHNPL's losses off and no hard negatives in ITC and ITM,
a step is the same program as SoftMask's.
Letters: G batch, K hard negatives of a caption, R = G * K rows, L text tokens, D width,
E embedding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from jaxvl.losses import contrastive, hard_negative, make_contrast
from jaxvl.methods import ahnpl, albef, clip, softmask
from jaxvl.methods.context import Context
from jaxvl.methods.contrast import contrast, ids_of, negative_ids_of
from jaxvl.methods.encoders import EncodedBatch, corrupt, encode_batch
from jaxvl.methods.matching import Negatives, Pairs, draw_negatives, hardness_of
from jaxvl.models.fusion import ImageKeys
from jaxvl.ops.rng import stream
from jaxvl.types import Batch, Component, Method, Model, Params, Slots


class Texts(NamedTuple):
    """The encoded hard negatives of a batch."""

    t_GxKxLxD: jax.Array
    mask_GxKxL: jax.Array
    zn_GxKxE: jax.Array
    valid_GxK: jax.Array  # False where a caption has no negative of a kind
    keys: contrastive.Keys | None  # of the momentum encoder, for ITC; None if it does not use them


def make(config: ConfigDict, model: Model, *, steps_per_epoch: int) -> Method:
    """Returns the Method; `steps_per_epoch` is the unit of keys that count epochs."""
    options = config.ahnpl
    plain = softmask.make(config, model, steps_per_epoch=steps_per_epoch)
    method = plain._replace(
        slot_rules=(*ahnpl.SLOT_RULES, *plain.slot_rules),
        warn=lambda metrics: ahnpl.warn(options, metrics),
    )
    uses = ahnpl.uses_negatives(options) or options.itm_negatives or options.alignment_weight > 0
    if not uses:
        return method
    contrast_rows = make_contrast(config)

    def forward(params: Params, slots: Slots, batch: Batch, *, step: jax.Array, key: jax.Array):
        context = Context(config, model, params, batch, step, key)
        encoded = encode_batch(
            context,
            slots["twins"],
            steps_per_epoch=steps_per_epoch,
            corrupt_all=config.softmask.text_augmentation,
        )
        texts = encode_negatives(context, encoded)
        itc, similarity = contrast(
            context,
            contrast_rows,
            slots["queue"],
            encoded,
            negatives=texts.keys,
            **softmask.focal(config.softmask),
        )
        positive = softmask.match(context, encoded)
        hardness = hardness_of(config, slots)
        negatives = draw_negatives(
            context, encoded.online, positive.image_keys, similarity, hardness=hardness
        )
        if options.itm_negatives:
            negatives = with_own(
                context, encoded, negatives, texts, positive.image_keys, hardness=hardness
            )
        losses, metrics, adapted = softmask.fuse(context, encoded, positive, negatives, slots)
        losses = {"itc": itc, **losses}
        loss = softmask.total(losses, config)

        hard = ahnpl.new_epoch(options, slots["hard"], step, steps_per_epoch)
        z = clip.Embeddings(encoded.online.zi_GxE, encoded.online.zt_GxE, texts.zn_GxKxE)
        extra, more, hard = ahnpl.terms(config, hard, z, batch, 1 / params["temperature"])
        loss = loss + ahnpl.weighted(options, 0.0, extra, step=step)
        metrics |= more | albef.report(losses | extra, params)
        slots = softmask.next_slots(slots, encoded, ids_of(config, batch), adapted)
        return loss, (metrics, {**slots, "hard": hard})

    def init_slots(params: Params) -> Slots:
        return {**softmask.init_slots(config, params), "hard": ahnpl.init_slots(config)}

    return method._replace(init_slots=init_slots, forward=forward)


def encode_negatives(context: Context, encoded: EncodedBatch) -> Texts:
    """Returns the hard negatives, encoded as the captions are.

    If the captions have hidden words, the hard negatives have some too. The keys for ITC come from
    the momentum text encoder.
    """
    config, model, params, batch = context.config, context.model, context.params, context.batch
    ids_GxKxL, mask_GxKxL = batch["negative_ids"], batch["negative_mask"]
    valid_GxK = batch["negative_valid"]
    if config.softmask.text_augmentation:
        ids_GxKxL = hide_words(context, ids_GxKxL, mask_GxKxL)
    ids_RxL, mask_RxL = (x.reshape(-1, x.shape[-1]) for x in (ids_GxKxL, mask_GxKxL))
    t_RxLxD = model.encode_text(params, ids_RxL, mask_RxL, key=stream(context.key, "hard"))
    zn_GxKxE = model.project_text(params, t_RxLxD, ids_RxL).reshape(*valid_GxK.shape, -1)
    keys = None
    if config.ahnpl.itc_negatives:
        momentum_params, key = encoded.momentum_params, stream(context.key, "twin_hard")
        t_momentum = model.encode_text(momentum_params, ids_RxL, mask_RxL, key=key)
        z_RxE = lax.stop_gradient(model.project_text(momentum_params, t_momentum, ids_RxL))
        keys = contrastive.negative_keys(
            z_RxE.reshape(*valid_GxK.shape, -1), negative_ids_of(config, batch), valid_GxK
        )
    t_GxKxLxD = t_RxLxD.reshape(*mask_GxKxL.shape, -1)
    return Texts(t_GxKxLxD, mask_GxKxL, zn_GxKxE, valid_GxK, keys)


def hide_words(context: Context, ids_GxKxL: jax.Array, mask_GxKxL: jax.Array) -> jax.Array:
    """Returns the ids of hard negatives with words hidden as in the captions.

    Otherwise a text with [MASK] would be known to be true. What makes a negative false is not
    hidden, since without it the text would be true of the image.
    """
    batch = context.batch
    words_GxKxL = unchanged(ids_GxKxL, mask_GxKxL, batch["token_ids"], batch["token_mask"])
    words_GxKxL = words_GxKxL.at[..., 0].set(False)
    if context.config.data.add_sep:
        words_GxKxL &= jnp.pad(mask_GxKxL[..., 1:], ((0, 0), (0, 0), (0, 1)))  # not the last token
    ids_RxL, words_RxL = (x.reshape(-1, x.shape[-1]) for x in (ids_GxKxL, words_GxKxL))
    return corrupt(context, ids_RxL, words_RxL, name="mlm_hard").ids_GxL.reshape(ids_GxKxL.shape)


def unchanged(
    ids_GxKxL: jax.Array, mask_GxKxL: jax.Array, own_ids_GxL: jax.Array, own_mask_GxL: jax.Array
) -> jax.Array:
    """Returns [G, K, L]: True at the tokens that a hard negative shares with its caption.

    These are the longest beginning and the longest end that both have. What lies between two
    changes, as in a swap, is not among them. own_ids_GxL, own_mask_GxL: of the captions.
    """
    own_ids_GxKxL = jnp.broadcast_to(own_ids_GxL[:, None], ids_GxKxL.shape)
    differs_GxKxL = (ids_GxKxL != own_ids_GxKxL) | ~own_mask_GxL[:, None]
    beginning_GxKxL = differs_GxKxL.cumsum(-1) == 0
    # The same with both texts moved so that they end at one place.
    excess_GxK = own_mask_GxL.sum(-1)[:, None] - mask_GxKxL.sum(-1)
    place_GxKxL = jnp.arange(ids_GxKxL.shape[-1])[None, None] + excess_GxK[..., None]
    own_ids_GxKxL = jnp.take_along_axis(own_ids_GxKxL, jnp.maximum(place_GxKxL, 0), axis=-1)
    differs_GxKxL = mask_GxKxL & ((ids_GxKxL != own_ids_GxKxL) | (place_GxKxL < 0))
    end_GxKxL = differs_GxKxL[..., ::-1].cumsum(-1)[..., ::-1] == 0
    return mask_GxKxL & (beginning_GxKxL | end_GxKxL)


def with_own(
    context: Context,
    encoded: EncodedBatch,
    negatives: Negatives,
    texts: Texts,
    image_keys: ImageKeys,
    *,
    hardness: jax.Array | float,
) -> Negatives:
    """Returns the negatives with one more for each image: a hard negative of its own caption.

    It is drawn from the softmax of the similarities times `hardness`, as the others are; its weight
    is 0 where the caption has no hard negative. image_keys: of the images of the batch.
    """
    temperature = context.params["temperature"]
    logits_GxK = hard_negative.own(encoded.online.zi_GxE, texts.zn_GxKxE) / temperature * hardness
    gumbel_GxK = jax.random.gumbel(stream(context.key, "itm_hard"), logits_GxK.shape)
    scores_GxK = jnp.where(texts.valid_GxK, lax.stop_gradient(logits_GxK) + gumbel_GxK, -jnp.inf)
    chosen_G = scores_GxK.argmax(-1)

    def take(x_GxKxL: jax.Array) -> jax.Array:
        index = chosen_G.reshape(-1, *[1] * (x_GxKxL.ndim - 1))
        return jnp.take_along_axis(x_GxKxL, index, axis=1)[:, 0]

    one = Pairs(image_keys, take(texts.t_GxKxLxD), take(texts.mask_GxKxL))
    found_G = texts.valid_GxK.any(-1).astype(negatives.weight_R.dtype)
    weight_R = jnp.concatenate([negatives.weight_R, found_G])
    return Negatives([*negatives.pairs, one], weight_R, negatives.text_G)


def _check(config: ConfigDict) -> None:
    softmask.check(config)
    ahnpl.check(config)


SOFTMASK_AHNPL = Component(make, {**softmask.KEYS, **ahnpl.KEYS}, _check)
