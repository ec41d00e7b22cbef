"""SoftMask (Park and Han 2023): ALBEF that also matches images whose relevant patches are masked.

Every piece can be switched off on its own; with all of them off a step is bit-identical to ALBEF's.
The equations are in docs/softmask.md.
Letters: G batch, N image tokens (class token first), P patches, L text tokens, D width.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from jaxvl.errors import require
from jaxvl.keys import Key
from jaxvl.losses import itm, make_contrast
from jaxvl.methods import albef
from jaxvl.methods.context import Context
from jaxvl.methods.contrast import contrast, enqueue, ids_of
from jaxvl.methods.encoders import EncodedBatch, encode_batch
from jaxvl.methods.matching import (
    Negatives,
    Pairs,
    adapt_hardness,
    draw_negatives,
    fuse_together,
    hardness_of,
    matching_accuracy,
    matching_loss,
)
from jaxvl.methods.words import words_loss
from jaxvl.models.fusion import ImageKeys
from jaxvl.ops.arrays import masked_mean
from jaxvl.ops.dot import exact
from jaxvl.ops.gradcam import match_and_explain, word_relevance
from jaxvl.ops.rng import stream
from jaxvl.ops.soft_mask import choose_words, keep_factors, normalise_relevance
from jaxvl.types import MATCH, Batch, Component, Method, Metrics, Model, Params, Slots

SLOT_RULES = (*albef.SLOT_RULES, (r"strength$", PartitionSpec()))


def make(config: ConfigDict, model: Model, *, steps_per_epoch: int) -> Method:
    """Returns the Method; `steps_per_epoch` is the unit of momentum.distill_ramp_epochs."""
    options, contrast_rows = config.softmask, make_contrast(config)

    def forward(params: Params, slots: Slots, batch: Batch, *, step: jax.Array, key: jax.Array):
        context = Context(config, model, params, batch, step, key)
        encoded = encode_batch(
            context,
            slots["twins"],
            steps_per_epoch=steps_per_epoch,
            corrupt_all=options.text_augmentation,
        )
        itc, similarity = contrast(
            context, contrast_rows, slots["queue"], encoded, **focal(options)
        )
        positive = match(context, encoded)
        negatives = draw_negatives(
            context,
            encoded.online,
            positive.image_keys,
            similarity,
            hardness=hardness_of(config, slots),
        )
        losses, metrics, adapted = fuse(context, encoded, positive, negatives, slots)
        losses = {"itc": itc, **losses}
        metrics |= albef.report(losses, params)
        return total(losses, config), (
            metrics,
            next_slots(slots, encoded, ids_of(config, batch), adapted),
        )

    return Method(
        init_slots=lambda params: init_slots(config, params),
        forward=forward,
        project=lambda params: albef.clip_temperature(config, params),
        slot_rules=SLOT_RULES,
    )


def init_slots(config: ConfigDict, params: Params) -> Slots:
    """Returns ALBEF's slots and the strength of the mask."""
    strength = jnp.asarray(config.softmask.strength, jnp.float32)
    return {**albef.init_slots(config, params), "strength": strength}


def next_slots(slots: Slots, encoded: EncodedBatch, ids_Gx2: jax.Array, adapted: Slots) -> Slots:
    """Returns the slots of the next step. adapted: those that the controllers moved."""
    queue = enqueue(slots["queue"], encoded.momentum, ids_Gx2)
    return {**slots, "twins": encoded.momentum_params, "queue": queue, **adapted}


def focal(options: ConfigDict) -> dict[str, Any]:
    """Returns the focal arguments of the contrastive loss. options: config.softmask."""
    return {"gamma": options.focal_gamma, "focal_on": options.focal_on}


def total(losses: Metrics, config: ConfigDict) -> jax.Array:
    """Returns the weighted sum of ALBEF's losses and that of the masked images."""
    return albef.total(losses, config) + config.softmask.weight * losses.get("soft", 0.0)


class Positive(NamedTuple):
    """The fusion pass of the true pairs."""

    image_keys: ImageKeys  # of the images of the batch, for the passes that follow
    states_GxLxD: jax.Array
    logits_Gx2: jax.Array
    relevance_GxLxP: jax.Array | None  # of each patch to each token; None without soft masks


def match(context: Context, encoded: EncodedBatch) -> Positive:
    """Returns the Positive: one pass gives both the match logits and the relevance."""
    config, model, params = context.config, context.model, context.params
    options, key = config.softmask, stream(context.key, "positive")
    t_GxLxD, mask_GxL = encoded.online.t_GxLxD, context.batch["token_mask"]
    image_keys = model.image_keys(params, encoded.online.v_GxNxD)
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
    pairs = Pairs(image_keys, t_GxLxD, mask_GxL)
    (states,) = fuse_together(model, params, [pairs], key, first_only=False)
    return Positive(image_keys, states, model.match_logits(params, states), None)


def fuse(
    context: Context,
    encoded: EncodedBatch,
    positive: Positive,
    negatives: Negatives,
    slots: Slots,
) -> tuple[Metrics, Metrics, Slots]:
    """Returns (losses, metrics, the slots that controllers moved) of the fusion encoder.

    The losses are "itm", "mlm" and, with soft masks, "soft". One pass gives the states of the
    negatives, of the captions with hidden words, and of the masked images. With text augmentation
    the true pairs have hidden words already: their own states then serve "mlm".
    """
    config, model, params, batch = context.config, context.model, context.params, context.batch
    options, mask, online = config.softmask, batch["token_mask"], encoded.online
    augmented = options.text_augmentation

    pairs = list(negatives.pairs)
    if not augmented:
        pairs.append(Pairs(positive.image_keys, online.words_GxLxD, mask))
    soft = None
    if positive.relevance_GxLxP is not None:
        own = soft_words(context, encoded, "word")
        soft = soft_mask(context, encoded, own, positive.relevance_GxLxP, slots["strength"])
        pairs.append(Pairs(positive.image_keys, online.t_GxLxD, mask, soft.keep_GxN))
        if options.wrong_text:
            wrong = soft
            if options.wrong_mask == "own":
                wrong = mask_of_wrong_texts(context, encoded, negatives, slots["strength"])
            pairs.append(negatives.pairs[0]._replace(keep_GxN=wrong.keep_GxN))
    states = fuse_together(
        model, params, pairs, stream(context.key, "negative"), first_only=augmented
    )
    negative, others = states[: len(negatives.pairs)], states[len(negatives.pairs) :]
    words = positive.states_GxLxD if augmented else others[0]
    match_logits = (
        positive.logits_Gx2,
        model.match_logits(params, jnp.concatenate(negative)),
        negatives.weight_R,
    )

    losses = {"itm": matching_loss(*match_logits), "mlm": words_loss(context, encoded, words)}
    accuracy = matching_accuracy(*match_logits)
    adapted, metrics = adapt_hardness(config, slots, accuracy)
    metrics["itm/accuracy"] = accuracy
    if soft is not None:
        soft_Gx2, *wrong_Gx2 = [model.match_logits(params, x) for x in others[not augmented :]]
        losses["soft"] = soft_loss(
            soft, soft_Gx2, *wrong_Gx2, found_G=negatives.weight_R[: len(mask)]
        )
        strength, more = adapt_strength(options, slots["strength"], soft, soft_Gx2)
        adapted, metrics = {**adapted, "strength": strength}, metrics | more
    return losses, metrics, adapted


class SoftMask(NamedTuple):
    """What the drawn word of each caption attenuates in its image."""

    keep_GxN: jax.Array  # factor of each image token
    applied_G: jax.Array  # 1 where the pair is masked, else 0
    mass: jax.Array  # share of the patches' energy that the masks take, a mean


def soft_words(
    context: Context, encoded: EncodedBatch, name: str, text_G: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Returns what `choose_words` returns, of each caption.

    name: of the stream of draws. text_G: the row of the text beside each image; None for its own.
    """
    words_GxL, ids_GxL = context.batch["word_ids"], encoded.ids_GxL
    if text_G is not None:
        words_GxL, ids_GxL = words_GxL[text_G], ids_GxL[text_G]
    eligible_GxL = (words_GxL >= 0) & (ids_GxL != context.config.model.text.mask_token)
    return choose_words(stream(context.key, name), words_GxL, eligible_GxL)


def mask_of_wrong_texts(
    context: Context, encoded: EncodedBatch, negatives: Negatives, strength: jax.Array
) -> SoftMask:
    """Returns the SoftMask of images with wrong texts, each from the wrong text's own relevance."""
    options, wrong = context.config.softmask, negatives.pairs[0]
    relevance_GxLxP, _ = word_relevance(
        context.model,
        context.params,
        wrong.image_keys,
        wrong.t_GxLxD,
        wrong.mask_GxL,
        layer=options.layer,
        score=options.score,
    )
    words = soft_words(context, encoded, "wrong_word", negatives.text_G)
    return soft_mask(context, encoded, words, relevance_GxLxP, strength)


def soft_mask(
    context: Context,
    encoded: EncodedBatch,
    words: tuple[jax.Array, jax.Array],
    relevance_GxLxP: jax.Array,
    strength: jax.Array,
) -> SoftMask:
    """Returns the SoftMask of pairs. words: of `soft_words`. relevance: of these pairs."""
    options, key = context.config.softmask, context.key
    share_GxL, found_G = words
    relevance_GxP = exact("GL,GLP->GP", share_GxL, relevance_GxLxP)
    mask_GxP = shaped(normalise_relevance(relevance_GxP), options.mask)
    drawn_G = jax.random.bernoulli(stream(key, "soft"), options.probability, found_G.shape)
    applied_G = (found_G & drawn_G & (context.step >= options.start_step)).astype(jnp.float32)
    keep_GxN = keep_factors(mask_GxP * applied_G[:, None], strength)
    energy_GxN = (lax.stop_gradient(encoded.online.v_GxNxD).astype(jnp.float32) ** 2).sum(-1)
    left_G = (keep_GxN**2 * energy_GxN)[:, 1:].sum(-1) / energy_GxN[:, 1:].sum(-1)
    return SoftMask(keep_GxN, applied_G, masked_mean(1 - left_G, applied_G))


def shaped(mask_GxP: jax.Array, shape: str) -> jax.Array:
    """Returns the mask, relevance in [0, 1], as it is ("soft"), or rounded to 0 and 1 ("hard")."""
    return mask_GxP if shape == "soft" else (mask_GxP >= 0.5).astype(mask_GxP.dtype)


def soft_loss(
    soft: SoftMask, true_Gx2: jax.Array, wrong_Gx2: jax.Array | None = None, *, found_G: jax.Array
) -> jax.Array:
    """Returns the mean matching loss of the masked images with their texts.

    true_Gx2: match logits with the true text. wrong_Gx2: with a wrong text beside the same masked
    image, or None; otherwise a masked image always belongs to its text, and the mask alone tells
    so. found_G: 1 where there is a wrong text.
    """
    true_G = itm.cross_entropy(true_Gx2, MATCH)
    if wrong_Gx2 is None:
        return masked_mean(true_G, soft.applied_G)
    wrong_G = itm.cross_entropy(wrong_Gx2, 1 - MATCH)
    weights = jnp.concatenate([soft.applied_G, soft.applied_G * found_G])
    return masked_mean(jnp.concatenate([true_G, wrong_G]), weights)


def adapt_strength(
    options: ConfigDict, strength: jax.Array, soft: SoftMask, soft_Gx2: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Returns (strength of the next step, metrics); with `auto_strength` a controller moves it.

    Above `auto_band` the masked pairs are still recognised too easily, and the strength grows;
    below the band it falls. It also falls while the masks take more than `auto_mass` of the energy.

    options: config.softmask. soft_Gx2: match logits of the masked pairs.
    """
    probability = masked_mean(jax.nn.softmax(soft_Gx2)[:, MATCH], soft.applied_G)
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


def check(config: ConfigDict) -> None:
    """Raises UserError naming a key with which SoftMask cannot work."""
    albef.check(config)
    low, high = config.softmask.auto_band
    require(low <= high, f"softmask.auto_band={(low, high)} is not a pair (lowest, highest)")


KEYS = {
    **albef.KEYS,
    "softmask": {
        "weight": Key(
            1.0, "weight of matching on the softly masked image; 0: no soft masks", low=0
        ),
        "mask": Key(
            "soft",
            "soft: attenuate each patch by its relevance; hard: remove the patches of at least "
            "half of the highest relevance",
            choices=("soft", "hard"),
        ),
        "wrong_text": Key(
            False,
            "match each masked image with a wrong text too, so that the mask does not tell that "
            "image and text belong together",
        ),
        "wrong_mask": Key(
            "same",
            "mask of the image beside that wrong text: same, the one beside the true text; own, "
            "made from the match score of the wrong text",
            choices=("same", "own"),
        ),
        "strength": Key(1.0, "share by which the most relevant patch is attenuated", 0, 1),
        "probability": Key(1.0, "share of the pairs that are masked", 0, 1),
        "start_step": Key(0, "first step with soft masks", low=0),
        "auto_strength": Key(False, "move the strength so that masked pairs stay in `auto_band`"),
        "auto_band": Key((0.6, 0.8), "lowest and highest match probability of masked pairs", 0, 1),
        "auto_rate": Key(
            0.01, "change of the strength per step and unit of distance from the band", low=0
        ),
        "auto_mass": Key(
            0.5, "share of attenuated energy above which the strength is lowered", 0, 1
        ),
        "auto_mass_weight": Key(1.0, "weight of that share against the match probability", low=0),
        "focal_gamma": Key(2.0, "gamma of the focal contrastive loss; 0: the plain loss", low=0),
        "focal_on": Key(
            "all",
            "all: each key has a focal factor of its own; target: that of the true class",
            choices=("all", "target"),
        ),
        "text_augmentation": Key(
            True,
            "all losses read the captions with hidden words, not masked language modelling alone",
        ),
    },
}
SOFTMASK = Component(make, KEYS, check)
