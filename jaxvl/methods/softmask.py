"""SoftMask (Park & Han 2023): ALBEF that also matches pictures whose relevant regions are dimmed.

Every piece switches off on its own; with all of them off the step is ALBEF's to the last bit.
Letters: G batch, N image tokens (class token first), P patches, L text tokens.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxvl.losses import itm, mlm
from jaxvl.methods import albef
from jaxvl.models.albef import MATCH
from jaxvl.ops.gradcam import Matched, match_and_explain
from jaxvl.ops.rng import stream
from jaxvl.ops.soft_mask import choose_words, keep_factors, normalise_relevance
from jaxvl.types import Method

SLOT_RULES = (*albef.SLOT_RULES, (r"strength$", PartitionSpec()))


class Hard(NamedTuple):
    """What hard negatives add to a step: functions of softmask_ahnpl.py."""

    init_slots: Callable  # () -> slots
    encode: Callable  # (params, twins, batch, key) -> texts, with `keys` for ITC or None
    pairs: Callable  # (wrong Pairs, weight_R, texts, online, image_keys, temperature, key) -> both
    terms: Callable  # (slots, online, texts, batch, params, step) -> (losses, sum, metrics, slots)


def make(config, model, *, steps_per_epoch, hard=None):
    """Returns the Method; `steps_per_epoch` is the length of the ramp's unit."""
    options = config.softmask
    masks = options.weight > 0

    def forward(params, slots, batch, *, step, key):
        mask = batch["token_mask"]
        twins = albef.update_twins(slots["twins"], params, decay=config.momentum.decay)
        distill = albef.distill_weight(config, step, steps_per_epoch)
        corrupted = albef.corrupt_words(config, batch, key)
        # With text augmentation every pass reads the corrupted words, so those of the positive
        # pair are read off its own states and ALBEF's separate pass falls away (methods.md 4).
        augmented = options.text_augmentation
        texts = (corrupted.ids_GxL,) if augmented else (batch["token_ids"], corrupted.ids_GxL)

        online = albef.encode(model, params, batch, texts, key=stream(key, "online"))
        twin = albef.encode(model, twins, batch, texts, key=stream(key, "twin"))
        false = hard.encode(params, twins, batch, key) if hard else None
        contrast, similarity = albef.contrast_batch(
            params,
            slots["queue"],
            online,
            twin,
            batch["image_id"],
            distill,
            gamma=options.focal_gamma,
            focal_on=options.focal_on,
            chunk=config.loss.itc_chunk,
            false_texts=false.keys if hard else None,
        )
        image_keys = model.image_keys(params, online.v_GxNxD)
        positive = match(model, params, image_keys, online.t_GxLxD, mask, options, key)
        wrong, weight_R = albef.draw_pairs(
            config, model, params, online, image_keys, batch, similarity, key
        )
        if hard:
            wrong, weight_R = hard.pairs(
                wrong, weight_R, false, online, image_keys, params["temperature"], key
            )
        others = {}
        if not augmented:
            others["words"] = albef.Pairs(image_keys, online.words_GxLxD, mask, None)
        if masks:
            soft = soft_mask(
                options,
                slots["strength"],
                positive,
                online,
                batch,
                texts[0],
                step,
                key,
                mask_token=config.model.text.mask_token,
            )
            others["soft"] = albef.Pairs(image_keys, online.t_GxLxD, mask, soft.keep_GxN)
        states = albef.fuse_together(
            model, params, [*wrong, *others.values()], stream(key, "negative"), first_only=augmented
        )
        negative_Rx2 = model.match_logits(params, jnp.concatenate(states[: len(wrong)]))
        states = dict(zip(others, states[len(wrong) :]), positive=positive.states_GxLxD)
        words = model.word_logits(params, states["positive" if augmented else "words"])
        words = (words, albef.twin_words(config, model, twins, twin, mask, key))
        losses = {
            "itc": contrast,
            "itm": albef.matching_loss(positive.logits_Gx2, negative_Rx2, weight_R),
            "mlm": albef.words_mean(words, batch["token_ids"], corrupted.hidden_GxL, distill),
        }
        loss = albef.total(losses, config)
        strength, metrics = slots["strength"], {}
        if masks:
            soft_Gx2 = model.match_logits(params, states["soft"])
            losses["soft"] = mlm.masked_mean(itm.cross_entropy(soft_Gx2, MATCH), soft.applied_G)
            loss = loss + options.weight * losses["soft"]
            strength, metrics = adapt_strength(options, strength, soft, soft_Gx2)
        carried = {}
        if hard:
            extra, more, of_hard, carried["hard"] = hard.terms(
                slots["hard"], online, false, batch, params=params, step=step
            )
            losses, loss, metrics = losses | extra, loss + more, metrics | of_hard
        metrics |= albef.report(losses, params, positive.logits_Gx2, negative_Rx2, weight_R)
        queue = albef.enqueue(slots["queue"], twin, batch["image_id"])
        carried |= {"twins": twins, "queue": queue, "strength": strength}
        return loss, (metrics, carried)

    def init_slots(params):
        strength = jnp.asarray(options.strength, jnp.float32)
        slots = {**albef.init_slots(config, params), "strength": strength}
        return {**slots, "hard": hard.init_slots()} if hard else slots

    return Method(
        init_slots=init_slots,
        forward=forward,
        project=lambda params: albef.clip_temperature(config, params),
        slot_rules=SLOT_RULES,
    )


def match(model, params, image_keys, t_GxLxD, mask_GxL, options, key):
    """Returns Matched of the positive pairs; without soft masks its relevance is None."""
    key = stream(key, "positive")
    if options.weight > 0:
        return match_and_explain(
            model,
            params,
            image_keys,
            t_GxLxD,
            mask_GxL,
            layer=options.layer,
            score=options.score,
            key=key,
        )
    pairs = albef.Pairs(image_keys, t_GxLxD, mask_GxL, None)
    (states,) = albef.fuse_together(model, params, [pairs], key, first_only=False)
    return Matched(states, model.match_logits(params, states), None)


class SoftMask(NamedTuple):
    """What a drawn word of each caption does to its picture."""

    keep_GxN: jax.Array  # factor of each image token
    applied_G: jax.Array  # 1 where the pair is masked
    mass: jax.Array  # mean share of the patches' energy that the mask takes


def soft_mask(options, strength, positive, online, batch, ids_GxL, step, key, *, mask_token):
    """Returns the SoftMask of the positive pairs, from their own relevance (methods.md 2)."""
    eligible_GxL = (batch["word_ids"] >= 0) & (ids_GxL != mask_token)
    share_GxL, found_G = choose_words(stream(key, "word"), batch["word_ids"], eligible_GxL)
    relevance_GxP = jnp.einsum("GL,GLP->GP", share_GxL, positive.relevance_GxLxP)
    mask_GxP = normalise_relevance(relevance_GxP)
    drawn_G = jax.random.bernoulli(stream(key, "soft"), options.probability, found_G.shape)
    applied_G = (found_G & drawn_G & (step >= options.start_step)).astype(jnp.float32)
    keep_GxN = keep_factors(mask_GxP * applied_G[:, None], strength)
    energy_GxN = (lax.stop_gradient(online.v_GxNxD).astype(jnp.float32) ** 2).sum(-1)
    left_G = (keep_GxN**2 * energy_GxN)[:, 1:].sum(-1) / energy_GxN[:, 1:].sum(-1)
    return SoftMask(keep_GxN, applied_G, mlm.masked_mean(1 - left_G, applied_G))


def adapt_strength(options, strength, soft, soft_Gx2):
    """Returns (strength of the next step, metrics): a controller of the mask, if it is switched on.

    Above the band the masked pairs are still recognised too easily and the strength grows, below it
    shrinks; it also shrinks while the mask takes more energy than `auto_mass`.
    """
    probability = mlm.masked_mean(jax.nn.softmax(soft_Gx2)[:, MATCH], soft.applied_G)
    probability, mass = lax.stop_gradient((probability, soft.mass))
    metrics = {
        "softmask/strength": strength,
        "softmask/match_probability": probability,
        "softmask/mass": mass,
    }
    if not options.auto_strength:
        return strength, metrics
    low, high = options.auto_band
    outside = jnp.maximum(probability - high, 0) - jnp.maximum(low - probability, 0)
    excess = jnp.maximum(mass - options.auto_mass, 0)
    change = options.auto_rate * (outside - options.auto_mass_weight * excess)
    moved = jnp.clip(strength + change, 0.0, 1.0)
    return jnp.where(soft.applied_G.any(), moved, strength), metrics
