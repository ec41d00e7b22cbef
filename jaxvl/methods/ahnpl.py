"""AHNPL (Huang et al. 2025): CLIP that is told its captions from ones that are almost right.

Every term has its own weight; with all of them off a step is plain CLIP's to the last bit. NegCLIP,
CE-CLIP and AHNPL as it was released are settings of the same keys (configs/coco_ahnpl.py).
Letters: G batch, K hard negatives a caption, one a type, E embedding.
"""

import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxvl.errors import require, require_model
from jaxvl.keys import Key
from jaxvl.losses import hard_negative, make_contrast
from jaxvl.losses.mlm import masked_mean
from jaxvl.methods import clip
from jaxvl.types import Component, Method

SLOT_RULES = ((r"margin$", P()),)


def make(config, model, *, steps_per_epoch):
    """Returns the Method; `steps_per_epoch` says when margins start anew, if they do."""
    options = config.ahnpl
    contrast_rows = make_contrast(config)

    def forward(params, slots, batch, *, step, key):
        del key  # nothing is drawn
        scale = jnp.exp(params["logit_scale"])
        z = clip.encode(
            model,
            params,
            batch,
            negatives=uses_negatives(options),
            second=uses_second_view(options),
        )
        texts = clip.keys(z.zt_GxE, batch["image_id"])
        if options.itc_negatives:
            texts = hard_negative.text_keys(
                z.zt_GxE, z.zn_GxKxE, batch["image_id"], batch["negative_valid"]
            )
        losses = {"itc": clip.itc(contrast_rows, params, z, batch["image_id"], texts)}
        slots = new_epoch(options, slots, step, steps_per_epoch)
        extra, metrics, slots = terms(config, slots, z, batch, scale)
        loss = weighted(options, losses["itc"], extra, step=step)
        metrics |= {f"loss/{name}": value for name, value in (losses | extra).items()}
        return loss, ({**metrics, **clip.report(params, z)}, slots)

    return Method(
        init_slots=lambda params: init_slots(config),
        forward=forward,
        project=clip.clip_logit_scale,
        slot_rules=SLOT_RULES,
        warn=lambda metrics: warn(options, metrics),
    )


def uses_negatives(options):
    """Whether any term that is switched on needs hard negatives in the batch."""
    weights = (options.multimodal_weight, options.margin_weight, options.intra_modal_weight)
    return options.itc_negatives or any(weight > 0 for weight in weights)


def uses_second_view(options):
    """Whether a term that is switched on needs another caption and view of each picture."""
    return options.positive == "intra" and options.multimodal_weight > 0 and not options.as_released


def init_slots(config):
    """Returns margins of 0 and no knowledge of the cosine of true pairs yet."""
    nothing = jnp.zeros(())
    return {
        "margin": jnp.zeros((len(kinds(config)),)),
        "cosine": {"mean": nothing, "square": nothing, "weight": nothing},
    }


def new_epoch(options, slots, step, steps_per_epoch):
    """Returns the slots with margins of 0 at the start of an epoch, where that is asked for."""
    if not options.margin_reset:
        return slots
    return {**slots, "margin": jnp.where(step % steps_per_epoch == 0, 0.0, slots["margin"])}


def terms(config, slots, z, batch, scale):
    """Returns (losses beside ITC, those that are switched on; metrics; the next slots).

    z: clip.Embeddings. scale: 1 / temperature.
    """
    options = config.ahnpl
    cosine_G = (z.zi_GxE * z.zt_GxE).sum(-1)
    target, cosine = align_to(options, slots["cosine"], cosine_G)
    slots = {**slots, "cosine": cosine}
    losses, metrics = {}, {"alignment/target": target}
    if options.alignment_weight > 0:
        losses["alignment"] = hard_negative.alignment(cosine_G, target).mean()
    if not uses_negatives(options):
        return losses, metrics, slots

    valid_GxK, positive_G = batch["negative_valid"], scale * cosine_G
    cosine_GxK = hard_negative.own(z.zi_GxE, z.zn_GxKxE)
    difficulty_GxK = cosine_GxK - cosine_G[:, None]
    weight_GxK, at_cap = hard_negative.adaptive_weights(
        difficulty_GxK, valid_GxK, beta=options.adaptive_beta, cap=options.adaptive_cap
    )
    hinge_GxK = hard_negative.hinge(positive_G, scale * cosine_GxK, valid_GxK, slots["margin"])
    if options.multimodal_weight > 0:
        losses["multimodal"] = multimodal(config, z, batch, positive_G, weight_GxK, scale)
    if options.margin_weight > 0:
        counted_GxK = jnp.ones_like(valid_GxK) if options.as_released else valid_GxK
        losses["margin"] = masked_mean(weight_GxK * hinge_GxK, counted_GxK)
    if options.intra_modal_weight > 0:
        losses["intra_modal"] = hard_negative.intra_modal(
            positive_G, z.zt_GxE, z.zn_GxKxE, valid_GxK, scale, chunk=config.loss.itc_chunk
        ).mean()

    metrics |= report(config, difficulty_GxK, valid_GxK, hinge_GxK, weight_GxK)
    metrics |= {f"margin/{kind}": slots["margin"][k] for k, kind in enumerate(kinds(config))}
    metrics["effective/at_cap"] = at_cap
    margin_K = hard_negative.next_margins(
        slots["margin"],
        positive_G,
        scale * cosine_GxK,
        valid_GxK,
        limit=options.margin_limit,
        as_released=options.as_released,
    )
    return losses, metrics, {**slots, "margin": margin_K}


def align_to(options, running, cosine_G):
    """Returns (the cosine that true pairs should reach, their running moments after this batch).

    The target is that of the steps before: their mean plus `alignment_ease` deviations.
    """
    seen = jnp.maximum(running["weight"], 1e-6)
    mean = running["mean"] / seen
    deviation = jnp.sqrt(jnp.maximum(running["square"] / seen - mean**2, 0.0))
    target = jnp.maximum(mean + options.alignment_ease * deviation, options.alignment_floor)
    cosine_G = lax.stop_gradient(cosine_G)
    new = {"mean": cosine_G.mean(), "square": (cosine_G**2).mean(), "weight": 1.0}
    decay = options.alignment_decay
    return target, {name: decay * running[name] + (1 - decay) * new[name] for name in running}


def multimodal(config, z, batch, positive_G, weight_GxK, scale):
    """Returns MHN: the caption against its negatives, the picture against what they make of it.

    positive_G: S(image, caption), what both are told from their negatives by. With `positive` as
    "intra" it is another caption to the caption, and another view to the picture; a caption that
    is its picture's only one then teaches nothing.
    """
    options, chunk, valid_GxK = config.ahnpl, config.loss.itc_chunk, batch["negative_valid"]
    zv_GxKxE = hard_negative.perturb(
        z.zi_GxE,
        z.zt_GxE,
        z.zn_GxKxE,
        scale=options.perturbation,
        normalise=not options.as_released,
    )

    def side(z_GxE, zn_GxKxE, second_GxE, valid_GxK):
        if options.as_released:
            return hard_negative.released_multimodal(z_GxE, zn_GxKxE, scale, chunk=chunk).mean()
        own_G = positive_G if second_GxE is None else scale * (z_GxE * second_GxE).sum(-1)
        negative_GxK = scale * hard_negative.own(z_GxE, zn_GxKxE)
        return hard_negative.multimodal(own_G, negative_GxK, valid_GxK, weight_GxK).mean()

    told_GxK = valid_GxK
    if uses_second_view(options):
        told_GxK = valid_GxK & batch["second_valid"][:, None]
    text = side(z.zt_GxE, z.zn_GxKxE, z.second_zt_GxE, told_GxK)
    image = side(z.zi_GxE, zv_GxKxE, z.second_zi_GxE, valid_GxK)
    return options.multimodal_text_weight * text + options.multimodal_image_weight * image


def report(config, difficulty_GxK, valid_GxK, hinge_GxK, weight_GxK):
    """Returns the metrics of each type of negative: is training getting unstable, and by which?

    difficulty: cosine above the truth's. active: share within the margin. effective: size of the
    weights' sample, as a share. false_match: share that outranks the truth.
    """
    by_type = {
        "difficulty": hard_negative.mean_by_type(difficulty_GxK, valid_GxK),
        "active": hard_negative.mean_by_type(hinge_GxK > 0, valid_GxK),
        "effective": hard_negative.effective_share(weight_GxK, valid_GxK, axis=0),
        "false_match": hard_negative.mean_by_type(difficulty_GxK >= 0, valid_GxK),
    }
    metrics = {
        f"{name}/{kind}": values_K[k]
        for name, values_K in by_type.items()
        for k, kind in enumerate(kinds(config))
    }
    metrics["effective/all"] = hard_negative.effective_share(weight_GxK, valid_GxK, axis=None)
    return metrics


def kinds(config):
    """Returns the names of the K columns."""
    return config.data.negative_kinds


def weighted(options, contrast, losses, *, step):
    """Returns the contrastive loss plus, from `start_step` on, the others, each by its weight."""
    total = sum(options[f"{name}_weight"] * value for name, value in losses.items())
    return contrast + jnp.where(step >= options.start_step, total, 0.0)


def warn(options, metrics):
    """Returns a line if few hard negatives carry all the weight, which makes training jump."""
    share = metrics.get("effective/all", 1.0)
    if share >= options.effective_floor:
        return None
    return (
        f"the weights of hard negatives rest on {share:.0%} of them, less than "
        f"ahnpl.effective_floor={options.effective_floor:.0%}; lower "
        f"ahnpl.adaptive_beta={options.adaptive_beta} or ahnpl.adaptive_cap={options.adaptive_cap}"
    )


def check(config):
    """Raises UserError naming a key with which hard negatives cannot be trained on."""
    options = config.ahnpl
    require(
        options.positive == "cross" or config.method == "ahnpl" and config.data.second_view,
        "ahnpl.positive='intra' needs method='ahnpl' and data.second_view=True",
    )
    needed = config.method == "softmask_ahnpl" or uses_negatives(options)
    require(
        config.data.negatives or not needed,
        f"data.negatives is empty and method={config.method!r} trains with hard negatives; give "
        "'own' or a folder that `jaxvl negatives` wrote",
    )


def _check(config):
    require_model(config, "clip")
    check(config)


KEYS = {
    "ahnpl": {
        "start_step": Key(
            0,
            "before it only the contrastive loss: from scratch, the other terms collapse all "
            "embeddings to one point",
            low=0,
        ),
        "itc_negatives": Key(True, "hard negatives are keys of the contrastive loss (NegCLIP)"),
        "itm_negatives": Key(
            True, "method='softmask_ahnpl': one more pair to match, an image and its hard negative"
        ),
        "multimodal_weight": Key(
            0.2, "of contrast with a caption's own hard negatives, in text and image (MHN)", low=0
        ),
        "positive": Key(
            "cross",
            "of that contrast: the pair, or a second caption and a second view",
            choices=("cross", "intra"),
        ),
        "multimodal_text_weight": Key(1.0, "in MHN: caption against its hard negatives", low=0),
        "multimodal_image_weight": Key(
            1.0, "in MHN: image against the images moved by the hard negatives", low=0
        ),
        "perturbation": Key(1.0, "share of a hard negative's displacement that moves the image"),
        "margin_weight": Key(
            0.2, "of the hinge between true and false caption (DMCL; CE-CLIP's CMR)", low=0
        ),
        "margin_limit": Key(
            10.0, "in logits; a kind's margin is its mean gap in the step before", low=0
        ),
        "margin_reset": Key(False, "margins go back to 0 at each epoch, as released"),
        "alignment_weight": Key(0.2, "of pulling true pairs up to a target cosine", low=0),
        "alignment_ease": Key(
            0.0, "standard deviations added to the running mean that is the target"
        ),
        "alignment_floor": Key(0.2, "lowest target, a cosine", -1, 1),
        "alignment_decay": Key(0.99, "of the running mean, a step", low=0, below=1),
        "intra_modal_weight": Key(
            0.0, "of contrast between captions and the batch's hard negatives (CE-CLIP's IMC)", 0
        ),
        "adaptive_beta": Key(
            4.0, "weight of a hard negative ~ exp(beta * its cosine above the truth's); 0: equal"
        ),
        "adaptive_cap": Key(3.0, "highest weight, where the mean is 1", low=1),
        "effective_floor": Key(
            0.3, "share of hard negatives that carry the weight, below which a line warns", 0, 1
        ),
        "as_released": Key(
            False, "MHN without positives, hinge over invalid hard negatives: the released code"
        ),
    }
}
AHNPL = Component(make, KEYS, _check)
