"""SoftMask with hard negatives: in its contrast, in its matching, and AHNPL's terms on top.

No published system has this. SoftMask's step stays as it is and is given more to work on; with
AHNPL's terms off and no negatives in ITC and ITM it is SoftMask's to the last bit.
Letters: G batch, K hard negatives a caption, L text tokens, M = G * K, R pairs, E embedding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.losses import contrastive, mlm
from jaxvl.methods import ahnpl, albef, clip, softmask
from jaxvl.ops.rng import stream


class Texts(NamedTuple):
    """The encoded negatives of a batch."""

    t_GxKxLxD: jax.Array
    mask_GxKxL: jax.Array
    zn_GxKxE: jax.Array
    valid_GxK: jax.Array
    keys: contrastive.Keys | None  # for ITC, of the twins


def make(config, model, *, steps_per_epoch):
    """Returns the Method; `steps_per_epoch` is the length of the ramp's unit."""
    options = config.ahnpl

    def terms(slots, online, texts, batch, *, params, step):
        slots = ahnpl.new_epoch(options, slots, step, steps_per_epoch)
        z = clip.Embeddings(online.zi_GxE, online.zt_GxE, texts.zn_GxKxE)
        losses, metrics, slots = ahnpl.terms(config, slots, z, batch, 1 / params["temperature"])
        return losses, ahnpl.weighted(options, 0.0, losses, step=step), metrics, slots

    hard = softmask.Hard(
        init_slots=lambda: ahnpl.init_slots(config),
        encode=lambda *given: encode(config, model, *given),
        pairs=lambda *given: pairs(*given) if options.itm_negatives else given[:2],
        terms=terms,
    )
    uses = ahnpl.uses_negatives(options) or options.itm_negatives or options.alignment_weight > 0
    method = softmask.make(
        config, model, steps_per_epoch=steps_per_epoch, hard=hard if uses else None
    )
    return method._replace(
        slot_rules=(*ahnpl.SLOT_RULES, *method.slot_rules),
        warn=lambda metrics: ahnpl.warn(options, metrics),
    )


def encode(config, model, params, twins, batch, key):
    """Returns the Texts: read as the captions are, corrupted too where these are."""
    mask_GxKxL, valid_GxK = batch["negative_mask"], batch["negative_valid"]
    ids_RxL, mask_RxL = (x.reshape(-1, x.shape[-1]) for x in (batch["negative_ids"], mask_GxKxL))
    if config.softmask.text_augmentation:
        ids_RxL = corrupt(config, ids_RxL, mask_RxL, key)
    t_RxLxD = model.encode_text(params, ids_RxL, mask_RxL, key=stream(key, "hard"))
    zn_GxKxE = model.project_text(params, t_RxLxD, ids_RxL).reshape(*valid_GxK.shape, -1)
    keys = None
    if config.ahnpl.itc_negatives:
        twin_t = model.encode_text(twins, ids_RxL, mask_RxL, key=stream(key, "twin_hard"))
        z_MxE = lax.stop_gradient(model.project_text(twins, twin_t, ids_RxL))
        none_M = jnp.full(z_MxE.shape[:1], -1, batch["image_id"].dtype)
        keys = contrastive.Keys(z_MxE, none_M, valid_GxK.reshape(-1))
    t_GxKxLxD = t_RxLxD.reshape(*mask_GxKxL.shape, -1)
    return Texts(t_GxKxLxD, mask_GxKxL, zn_GxKxE, valid_GxK, keys)


def corrupt(config, ids_RxL, mask_RxL, key):
    """Returns the ids with words hidden at the rate of the captions', or [MASK] would give them
    away as true."""
    words_RxL = mask_RxL.at[:, 0].set(False)
    if config.data.add_sep:
        words_RxL &= jnp.pad(mask_RxL[:, 1:], ((0, 0), (0, 1)))  # not the last token
    return mlm.corrupt(
        stream(key, "mlm_hard"),
        ids_RxL,
        words_RxL,
        probability=config.loss.mask_probability,
        mask_token=config.model.text.mask_token,
        vocabulary_size=config.model.text.vocabulary_size,
    ).ids_GxL


def pairs(wrong, weight_R, texts, online, image_keys, temperature, key):
    """Returns (Pairs, weights) with one more a picture: with one of its caption's own negatives.

    Drawn from softmax(similarity), as the others are; weight 0 where the caption has none.
    """
    logits_GxK = jnp.einsum("GE,GKE->GK", online.zi_GxE, texts.zn_GxKxE) / temperature
    gumbel_GxK = jax.random.gumbel(stream(key, "itm_hard"), logits_GxK.shape)
    scores_GxK = jnp.where(texts.valid_GxK, lax.stop_gradient(logits_GxK) + gumbel_GxK, -jnp.inf)
    chosen_G = scores_GxK.argmax(-1)

    def take(x_GxKxL):
        index = chosen_G.reshape(-1, *[1] * (x_GxKxL.ndim - 1))
        return jnp.take_along_axis(x_GxKxL, index, axis=1)[:, 0]

    one = albef.Pairs(image_keys, take(texts.t_GxKxLxD), take(texts.mask_GxKxL), None)
    found_G = texts.valid_GxK.any(-1).astype(weight_R.dtype)
    return [*wrong, one], jnp.concatenate([weight_R, found_G])
