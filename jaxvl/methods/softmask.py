"""SoftMask (Park & Han 2023): ALBEF that also matches pictures whose relevant regions are dimmed.

Every piece switches off on its own; with all of them off the step is ALBEF's to the last bit.
Letters: G batch, N image tokens (class token first), P patches, L text tokens.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.losses import itm, make_contrast, mlm
from jaxvl.methods import albef
from jaxvl.models.albef import MATCH
from jaxvl.ops.gradcam import match_and_explain
from jaxvl.ops.rng import stream
from jaxvl.ops.soft_mask import choose_words, keep_factors, normalise_relevance
from jaxvl.types import Component, Method

SLOT_RULES = (*albef.SLOT_RULES, (r"strength$", PartitionSpec()))


class Seen(NamedTuple):
    """A batch as both towers and their momentum encoders read it."""

    twins: Any  # parameters of the momentum encoders
    distill: Any  # their share in the targets
    ids_GxL: jax.Array  # token ids that every pass reads
    hidden_GxL: jax.Array  # which tokens masked language modelling asks for
    online: albef.Encoded
    twin: albef.Encoded


def make(config, model, *, steps_per_epoch):
    """Returns the Method; `steps_per_epoch` is the length of the ramp's unit."""
    contrast_rows = make_contrast(config)

    def forward(params, slots, batch, *, step, key):
        seen = see(config, model, params, slots["twins"], batch, step, steps_per_epoch, key)
        contrast, similarity = contrast_batch(config, contrast_rows, params, slots, seen, batch)
        image_keys = model.image_keys(params, seen.online.v_GxNxD)
        positive = match(config, model, params, image_keys, seen, batch, key)
        negatives = albef.draw_pairs(
            config, model, params, seen.online, image_keys, batch, similarity, key
        )
        losses, metrics, strength = fuse(
            config, model, params, seen, positive, negatives, batch, slots["strength"], step, key
        )
        losses = {"itc": contrast, **losses}
        metrics |= {f"loss/{name}": value for name, value in losses.items()}
        metrics["temperature"] = params["temperature"]
        return total(config, losses), (metrics, carried(slots, seen, batch, strength))

    return Method(
        init_slots=lambda params: init_slots(config, params),
        forward=forward,
        project=lambda params: albef.clip_temperature(config, params),
        slot_rules=SLOT_RULES,
    )


def init_slots(config, params):
    """Returns ALBEF's slots and the strength of the mask."""
    strength = jnp.asarray(config.softmask.strength, jnp.float32)
    return {**albef.init_slots(config, params), "strength": strength}


def see(config, model, params, twins, batch, step, steps_per_epoch, key):
    """Returns the batch as Seen: momentum update first, then both towers and their twins.

    With text augmentation every pass reads the corrupted words, so those of the positive pair are
    predicted from its own states and ALBEF's separate pass is not needed (docs/softmask.md).
    """
    twins = albef.update_twins(twins, params, decay=config.momentum.decay)
    corrupted = albef.corrupt_words(config, batch, key)
    texts = (corrupted.ids_GxL,)
    if not config.softmask.text_augmentation:
        texts = (batch["token_ids"], corrupted.ids_GxL)
    return Seen(
        twins,
        albef.distill_weight(config, step, steps_per_epoch),
        texts[0],
        corrupted.hidden_GxL,
        online=albef.encode(model, params, batch, texts, key=stream(key, "online")),
        twin=albef.encode(model, twins, batch, texts, key=stream(key, "twin")),
    )


def contrast_batch(config, contrast_rows, params, slots, seen, batch, false_texts=None):
    """Returns what `albef.contrast_batch` returns, with the focal factor."""
    return albef.contrast_batch(
        contrast_rows,
        params,
        slots["queue"],
        seen.online,
        seen.twin,
        batch["image_id"],
        seen.distill,
        gamma=config.softmask.focal_gamma,
        focal_on=config.softmask.focal_on,
        false_texts=false_texts,
    )


def fuse(config, model, params, seen, positive, negatives, batch, strength, step, key):
    """Returns (losses, metrics, next strength) of all that the fusion encoder computes.

    positive: of `match`. negatives: ([Pairs, ...], their weights [R]), as albef.draw_pairs returns
    them. The losses are matching, masked words and, where it is on, matching of the softly masked
    image ("soft").
    """
    options, mask = config.softmask, batch["token_mask"]
    augmented = options.text_augmentation
    wrong, weight_R = negatives
    image_keys = positive.image_keys
    others = {}
    if not augmented:
        others["words"] = albef.Pairs(image_keys, seen.online.words_GxLxD, mask, None)
    if options.weight > 0:
        soft = soft_mask(config, strength, positive, seen, batch, step, key)
        others["soft"] = albef.Pairs(image_keys, seen.online.t_GxLxD, mask, soft.keep_GxN)
    states = albef.fuse_together(
        model, params, [*wrong, *others.values()], stream(key, "negative"), first_only=augmented
    )
    negative_Rx2 = model.match_logits(params, jnp.concatenate(states[: len(wrong)]))
    of = dict(zip(others, states[len(wrong) :]), positive=positive.states_GxLxD)
    words = model.word_logits(params, of["positive" if augmented else "words"])
    words = (words, albef.twin_words(config, model, seen.twins, seen.twin, mask, key))
    losses = {
        "itm": albef.matching_loss(positive.logits_Gx2, negative_Rx2, weight_R),
        "mlm": albef.words_mean(words, batch["token_ids"], seen.hidden_GxL, seen.distill),
    }
    metrics = {"itm/accuracy": albef.matching_accuracy(positive.logits_Gx2, negative_Rx2, weight_R)}
    if options.weight > 0:
        soft_Gx2 = model.match_logits(params, of["soft"])
        losses["soft"] = mlm.masked_mean(itm.cross_entropy(soft_Gx2, MATCH), soft.applied_G)
        strength, more = adapt_strength(options, strength, soft, soft_Gx2)
        metrics |= more
    return losses, metrics, strength


def total(config, losses):
    """Returns the weighted sum of ALBEF's losses and that of the softly masked image."""
    return albef.total(losses, config) + config.softmask.weight * losses.get("soft", 0.0)


def carried(slots, seen, batch, strength):
    """Returns the slots of the next step."""
    queue = albef.enqueue(slots["queue"], seen.twin, batch["image_id"])
    return {**slots, "twins": seen.twins, "queue": queue, "strength": strength}


class Positive(NamedTuple):
    """The pass of the positive pairs."""

    image_keys: Any  # cross-attention keys of the batch's images, for the passes that follow
    states_GxLxD: jax.Array
    logits_Gx2: jax.Array
    relevance_GxLxP: jax.Array | None  # None without soft masks


def match(config, model, params, image_keys, seen, batch, key):
    """Returns the Positive: one pass gives the match logits and what each word looks at."""
    options, key = config.softmask, stream(key, "positive")
    t_GxLxD, mask_GxL = seen.online.t_GxLxD, batch["token_mask"]
    if options.weight > 0:
        matched = match_and_explain(
            model,
            params,
            image_keys,
            t_GxLxD,
            mask_GxL,
            layer=options.layer,
            score=options.score,
            key=key,
        )
        return Positive(image_keys, *matched)
    pairs = albef.Pairs(image_keys, t_GxLxD, mask_GxL, None)
    (states,) = albef.fuse_together(model, params, [pairs], key, first_only=False)
    return Positive(image_keys, states, model.match_logits(params, states), None)


class SoftMask(NamedTuple):
    """What a drawn word of each caption does to its picture."""

    keep_GxN: jax.Array  # factor of each image token
    applied_G: jax.Array  # 1 where the pair is masked
    mass: jax.Array  # mean share of the patches' energy that the mask takes


def soft_mask(config, strength, positive, seen, batch, step, key):
    """Returns the SoftMask of the positive pairs, from their own relevance (docs/softmask.md)."""
    options = config.softmask
    eligible_GxL = (batch["word_ids"] >= 0) & (seen.ids_GxL != config.model.text.mask_token)
    share_GxL, found_G = choose_words(stream(key, "word"), batch["word_ids"], eligible_GxL)
    relevance_GxP = jnp.einsum("GL,GLP->GP", share_GxL, positive.relevance_GxLxP)
    mask_GxP = normalise_relevance(relevance_GxP)
    drawn_G = jax.random.bernoulli(stream(key, "soft"), options.probability, found_G.shape)
    applied_G = (found_G & drawn_G & (step >= options.start_step)).astype(jnp.float32)
    keep_GxN = keep_factors(mask_GxP * applied_G[:, None], strength)
    energy_GxN = (lax.stop_gradient(seen.online.v_GxNxD).astype(jnp.float32) ** 2).sum(-1)
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


def check(config):
    """Raises UserError naming a key with which SoftMask cannot work."""
    albef.check(config)
    low, high = config.softmask.auto_band
    require(low <= high, f"softmask.auto_band={(low, high)} is not a pair (lowest, highest)")


KEYS = {
    **albef.KEYS,
    "softmask": {
        "weight": Key(1.0, "of matching on the softly masked image; 0: no soft masks", low=0),
        "strength": Key(1.0, "how far the most relevant patch is attenuated", 0, 1),
        "probability": Key(1.0, "share of the pairs that are masked", 0, 1),
        "start_step": Key(0, "first step with soft masks", low=0),
        "auto_strength": Key(False, "move `strength` so that masked pairs stay in `auto_band`"),
        "auto_band": Key((0.6, 0.8), "match probability of a masked pair", 0, 1),
        "auto_rate": Key(0.01, "change of strength a step for each unit of distance", low=0),
        "auto_mass": Key(
            0.5, "share of attenuated energy above which strength is pulled back", 0, 1
        ),
        "auto_mass_weight": Key(1.0, "how hard it is pulled back", low=0),
        "focal_gamma": Key(2.0, "of the contrastive loss; 0: the plain one", low=0),
        "focal_on": Key(
            "all",
            "focal factor of every key, or of the true class only",
            choices=("all", "target"),
        ),
        "text_augmentation": Key(
            True, "masked words feed every loss, not masked language modelling alone"
        ),
    },
}
SOFTMASK = Component(make, KEYS, check)
