"""SoftMask with hard negatives: in its contrast, in its matching, and AHNPL's terms on top.

No published system has this. SoftMask's step stays as it is and is given more to work on; with
AHNPL's terms off and no negatives in ITC and ITM it is SoftMask's to the last bit.
Letters: G batch, K hard negatives a caption, L text tokens, M = G * K, R pairs, E embedding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvl.losses import contrastive, make_contrast, mlm
from jaxvl.methods import ahnpl, albef, clip, softmask
from jaxvl.ops.rng import stream
from jaxvl.types import Component


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
    plain = softmask.make(config, model, steps_per_epoch=steps_per_epoch)
    method = plain._replace(
        slot_rules=(*ahnpl.SLOT_RULES, *plain.slot_rules),
        warn=lambda metrics: ahnpl.warn(options, metrics),
    )
    uses = ahnpl.uses_negatives(options) or options.itm_negatives or options.alignment_weight > 0
    if not uses:
        return method
    contrast_rows = make_contrast(config)

    def forward(params, slots, batch, *, step, key):
        seen = softmask.see(
            config, model, params, slots["twins"], batch, step, steps_per_epoch, key
        )
        false = encode(config, model, params, seen.twins, batch, key)
        contrast, similarity = softmask.contrast_batch(
            config, contrast_rows, params, slots, seen, batch, false_texts=false.keys
        )
        image_keys = model.image_keys(params, seen.online.v_GxNxD)
        positive = softmask.match(config, model, params, image_keys, seen, batch, key)
        negatives = albef.draw_pairs(
            config, model, params, seen.online, image_keys, batch, similarity, key
        )
        if options.itm_negatives:
            negatives = with_own(
                negatives, false, seen.online, image_keys, params["temperature"], key
            )
        losses, metrics, strength = softmask.fuse(
            config, model, params, seen, positive, negatives, batch, slots["strength"], step, key
        )
        losses = {"itc": contrast, **losses}
        loss = softmask.total(config, losses)

        hard = ahnpl.new_epoch(options, slots["hard"], step, steps_per_epoch)
        z = clip.Embeddings(seen.online.zi_GxE, seen.online.zt_GxE, false.zn_GxKxE)
        extra, more, hard = ahnpl.terms(config, hard, z, batch, 1 / params["temperature"])
        loss = loss + ahnpl.weighted(options, 0.0, extra, step=step)
        metrics |= more | {f"loss/{name}": value for name, value in (losses | extra).items()}
        metrics["temperature"] = params["temperature"]
        slots = softmask.carried(slots, seen, batch, strength)
        return loss, (metrics, {**slots, "hard": hard})

    def init_slots(params):
        return {**softmask.init_slots(config, params), "hard": ahnpl.init_slots(config)}

    return method._replace(init_slots=init_slots, forward=forward)


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


def with_own(negatives, texts, online, image_keys, temperature, key):
    """Returns (Pairs, weights) with one more an image: with one of its caption's hard negatives.

    Drawn from softmax(similarity), as the others are; weight 0 where the caption has none.
    """
    wrong, weight_R = negatives
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


def _check(config):
    softmask.check(config)
    ahnpl.check(config)


SOFTMASK_AHNPL = Component(make, {**softmask.KEYS, **ahnpl.KEYS}, _check)
