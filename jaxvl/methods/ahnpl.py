"""AHNPL (Huang et al., IJCAI 2025): CLIP trained with hard negatives, captions almost right.

The equations are in docs/ahnpl.md. Each loss has its own weight. With all of them off and without
hard negatives in the contrastive loss, a step is bit-identical to plain CLIP's. NegCLIP, CE-CLIP
and AHNPL's released code are settings of the same keys (jaxvl/configs/coco_ahnpl.py).
Letters: G batch, K hard negatives of a caption (one of each kind), E embedding.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxvl.errors import require, require_model
from jaxvl.keys import Key
from jaxvl.losses import contrastive, hard_negative, make_contrast
from jaxvl.methods import clip
from jaxvl.methods.contrast import ids_of, negative_ids_of
from jaxvl.ops.arrays import masked_mean
from jaxvl.types import Batch, Component, Method, Metrics, Model, Params, Slots

SLOT_RULES = ((r"margin$", P()),)


def make(config: ConfigDict, model: Model, *, steps_per_epoch: int) -> Method:
    """Returns the Method; `steps_per_epoch` says when ahnpl.margin_reset resets the margins."""
    options = config.ahnpl
    contrast_rows = make_contrast(config)

    def forward(params: Params, slots: Slots, batch: Batch, *, step: jax.Array, key: jax.Array):
        del key  # nothing is drawn
        scale = jnp.exp(params["logit_scale"])
        z = clip.encode(
            model,
            params,
            batch,
            negatives=uses_negatives(options),
            second=uses_second_view(options),
        )
        ids_Gx2 = ids_of(config, batch)
        texts = contrastive.batch_keys(z.zt_GxE, ids_Gx2)
        if options.itc_negatives:
            counted_GxK = counted(options, batch["negative_valid"])
            texts = hard_negative.text_keys(
                z.zt_GxE, z.zn_GxKxE, ids_Gx2, negative_ids_of(config, batch), counted_GxK
            )
        losses = {"itc": clip.itc(contrast_rows, params, z, ids_Gx2, texts)}
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


def uses_negatives(options: ConfigDict) -> bool:
    """Returns True if a loss that is switched on needs hard negatives. options: config.ahnpl."""
    weights = (options.multimodal_weight, options.margin_weight, options.intra_modal_weight)
    return options.itc_negatives or any(weight > 0 for weight in weights)


def uses_second_view(options: ConfigDict) -> bool:
    """Returns True if a loss that is switched on needs a second caption and crop of each image."""
    return options.positive == "intra" and options.multimodal_weight > 0 and not options.as_released


def counted(options: ConfigDict, valid_GxK: jax.Array) -> jax.Array:
    """Returns [G, K]: True at a negative that counts: a valid one, and as released every one."""
    return jnp.ones_like(valid_GxK) if options.as_released else valid_GxK


def init_slots(config: ConfigDict) -> Slots:
    """Returns margins of 0, and the moments of the cosine of true pairs before any batch."""
    nothing = jnp.zeros(())
    return {
        "margin": jnp.zeros((len(kinds(config)),)),
        "cosine": {"mean": nothing, "square": nothing, "weight": nothing},
    }


def new_epoch(options: ConfigDict, slots: Slots, step: jax.Array, steps_per_epoch: int) -> Slots:
    """Returns the slots; with margin_reset the margins are 0 at the first step of an epoch."""
    if not options.margin_reset:
        return slots
    return {**slots, "margin": jnp.where(step % steps_per_epoch == 0, 0.0, slots["margin"])}


def terms(
    config: ConfigDict, slots: Slots, z: clip.Embeddings, batch: Batch, scale: jax.Array | float
) -> tuple[Metrics, Metrics, Slots]:
    """Returns (the losses beside ITC that are switched on, metrics, the slots of the next step).

    scale: 1 / temperature.
    """
    options = config.ahnpl
    cosine_G = (z.zi_GxE * z.zt_GxE).sum(-1)
    target, cosine = align_to(options, slots["cosine"], cosine_G)
    slots = {**slots, "cosine": cosine}
    losses, metrics = {}, {"alignment/target": target}
    if options.alignment_weight > 0:
        # Without stop_gradient the scale would shrink, which lowers this loss and aligns nothing.
        unit = lax.stop_gradient(scale) if options.alignment_units == "logit" else 1.0
        losses["alignment"] = unit * hard_negative.alignment(cosine_G, target).mean()
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
        losses["margin"] = masked_mean(weight_GxK * hinge_GxK, counted(options, valid_GxK))
    if options.intra_modal_weight > 0:
        losses["intra_modal"] = intra_modal(config, z, valid_GxK, positive_G, scale)

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


def align_to(options: ConfigDict, running: Slots, cosine_G: jax.Array) -> tuple[jax.Array, Slots]:
    """Returns (target of the cosine of true pairs, their running moments after this batch).

    The target comes from the steps before: the running mean plus `alignment_ease` standard
    deviations, and at least `alignment_floor`.
    """
    seen = jnp.maximum(running["weight"], 1e-6)
    mean = running["mean"] / seen
    deviation = jnp.sqrt(jnp.maximum(running["square"] / seen - mean**2, 0.0))
    target = jnp.maximum(mean + options.alignment_ease * deviation, options.alignment_floor)
    cosine_G = lax.stop_gradient(cosine_G)
    new = {"mean": cosine_G.mean(), "square": (cosine_G**2).mean(), "weight": 1.0}
    decay = options.alignment_decay
    return target, {name: decay * running[name] + (1 - decay) * new[name] for name in running}


def multimodal(
    config: ConfigDict,
    z: clip.Embeddings,
    batch: Batch,
    positive_G: jax.Array,
    weight_GxK: jax.Array,
    scale: jax.Array | float,
) -> jax.Array:
    """Returns MHN: captions against their hard negatives, images against the images they move to.

    positive_G: S(image, caption), the positive of both if `positive` is "cross". With "self" it is
    S(caption, caption) and S(image, image). With "intra" it is the second caption and the second
    crop; an image that has only one caption then gives no loss on the side of the text.
    """
    options, chunk, valid_GxK = config.ahnpl, config.loss.itc_chunk, batch["negative_valid"]
    zv_GxKxE = hard_negative.perturb(
        z.zi_GxE,
        z.zt_GxE,
        z.zn_GxKxE,
        scale=options.perturbation,
        normalise=not options.as_released,
    )

    def side(
        z_GxE: jax.Array, zn_GxKxE: jax.Array, second_GxE: jax.Array | None, valid_GxK: jax.Array
    ) -> jax.Array:
        if options.as_released:
            column_G = jnp.arange(len(z_GxE))
            return hard_negative.without_positive(
                z_GxE, zn_GxKxE, column_G, scale, chunk=chunk
            ).mean()
        own_G = positive_G
        if options.positive == "self":
            own_G = jnp.full_like(positive_G, scale)
        elif second_GxE is not None:
            own_G = scale * (z_GxE * second_GxE).sum(-1)
        negative_GxK = scale * hard_negative.own(z_GxE, zn_GxKxE)
        return hard_negative.multimodal(own_G, negative_GxK, valid_GxK, weight_GxK).mean()

    text_valid_GxK = valid_GxK
    if uses_second_view(options):
        text_valid_GxK = valid_GxK & batch["second_valid"][:, None]
    text = side(z.zt_GxE, z.zn_GxKxE, z.second_zt_GxE, text_valid_GxK)
    image = side(z.zi_GxE, zv_GxKxE, z.second_zi_GxE, valid_GxK)
    return options.multimodal_text_weight * text + options.multimodal_image_weight * image


def intra_modal(
    config: ConfigDict,
    z: clip.Embeddings,
    valid_GxK: jax.Array,
    positive_G: jax.Array,
    scale: jax.Array | float,
) -> jax.Array:
    """Returns IMC of CE-CLIP: by its paper, or by its code without a positive."""
    chunk = config.loss.itc_chunk
    if config.ahnpl.intra_modal_positive:
        return hard_negative.intra_modal(
            positive_G, z.zt_GxE, z.zn_GxKxE, valid_GxK, scale, chunk=chunk
        ).mean()
    first_G = jnp.zeros(len(z.zt_GxE), jnp.int32)
    return hard_negative.without_positive(z.zt_GxE, z.zn_GxKxE, first_G, scale, chunk=chunk).mean()


def report(
    config: ConfigDict,
    difficulty_GxK: jax.Array,
    valid_GxK: jax.Array,
    hinge_GxK: jax.Array,
    weight_GxK: jax.Array,
) -> Metrics:
    """Returns the metrics of each kind of hard negative, which show what makes training unstable.

    difficulty: cosine above that of the true caption. active: share within the margin. effective:
    effective sample size of the weights, as a share. false_match: share above the true caption.
    """
    by_kind = {
        "difficulty": hard_negative.mean_by_kind(difficulty_GxK, valid_GxK),
        "active": hard_negative.mean_by_kind(hinge_GxK > 0, valid_GxK),
        "effective": hard_negative.effective_share(weight_GxK, valid_GxK, axis=0),
        "false_match": hard_negative.mean_by_kind(difficulty_GxK >= 0, valid_GxK),
    }
    metrics = {
        f"{name}/{kind}": values_K[k]
        for name, values_K in by_kind.items()
        for k, kind in enumerate(kinds(config))
    }
    metrics["effective/all"] = hard_negative.effective_share(weight_GxK, valid_GxK, axis=None)
    return metrics


def kinds(config: ConfigDict) -> Sequence[str]:
    """Returns the names of the K kinds of hard negatives."""
    return config.data.negative_kinds


def weighted(
    options: ConfigDict, contrast: jax.Array | float, losses: Metrics, *, step: jax.Array
) -> jax.Array:
    """Returns the contrastive loss plus the weighted others, which count from `start_step` on."""
    total = sum(options[f"{name}_weight"] * value for name, value in losses.items())
    return contrast + jnp.where(step >= options.start_step, total, 0.0)


def warn(options: ConfigDict, metrics: Mapping[str, float]) -> str | None:
    """Returns a warning if few hard negatives carry all the weight, which makes training unstable.

    options: config.ahnpl. metrics: means since the last log line.
    """
    share = metrics.get("effective/all", 1.0)
    if share >= options.effective_floor:
        return None
    return (
        f"only {share:.0%} of the hard negatives carry the weight, less than "
        f"ahnpl.effective_floor={options.effective_floor:.0%}; lower "
        f"ahnpl.adaptive_beta={options.adaptive_beta} or ahnpl.adaptive_cap={options.adaptive_cap}"
    )


def check(config: ConfigDict) -> None:
    """Raises UserError naming a key with which training with hard negatives cannot work."""
    options = config.ahnpl
    require(
        options.positive != "intra" or config.method == "ahnpl" and config.data.second_view,
        "ahnpl.positive='intra' needs method='ahnpl' and data.second_view=True",
    )
    needed = config.method == "softmask_ahnpl" or uses_negatives(options)
    require(
        config.data.negatives or not needed,
        f"data.negatives is empty, but method={config.method!r} trains with hard negatives; set it "
        "to 'own' or to a folder that `jaxvl negatives` wrote",
    )


def _check(config: ConfigDict) -> None:
    require_model(config, "clip")
    check(config)


KEYS = {
    "ahnpl": {
        "start_step": Key(
            0,
            "first step with all losses, before it the contrastive loss works alone; from scratch, "
            "the others collapse all embeddings to one point",
            low=0,
        ),
        "itc_negatives": Key(True, "hard negatives are keys of the contrastive loss (NegCLIP)"),
        "itm_negatives": Key(
            True,
            "method='softmask_ahnpl': also match each image with a hard negative of its caption",
        ),
        "multimodal_weight": Key(
            0.2,
            "weight of the contrast with a caption's own hard negatives, in text and image (MHN)",
            low=0,
        ),
        "positive": Key(
            "self",
            "positive of MHN: self, the caption with itself and the image with itself; cross, the "
            "true pair; intra, a second caption and a second crop",
            choices=("cross", "intra", "self"),
        ),
        "multimodal_text_weight": Key(
            1.0, "in MHN, weight of captions against their hard negatives", low=0
        ),
        "multimodal_image_weight": Key(
            1.0, "in MHN, weight of images against the images moved by the hard negatives", low=0
        ),
        "perturbation": Key(
            1.0, "share of the difference of hard negative and caption that moves the image"
        ),
        "margin_weight": Key(
            0.2, "weight of the hinge between true and false captions (DMCL; CMR of CE-CLIP)", low=0
        ),
        "margin_limit": Key(
            10.0,
            "highest margin of a kind, which is its mean gap in the step before, in logits",
            low=0,
        ),
        "margin_reset": Key(False, "reset the margins to 0 at each epoch, as in the released code"),
        "alignment_weight": Key(
            0.2, "weight of the alignment of true pairs, up to a target cosine", low=0
        ),
        "alignment_units": Key(
            "cosine",
            "units of that loss: cosine, or logit, which is the cosine times the logit scale",
            choices=("cosine", "logit"),
        ),
        "alignment_ease": Key(
            0.0, "standard deviations that are added to the running mean to give the target"
        ),
        "alignment_floor": Key(0.2, "lowest target of the alignment, a cosine", -1, 1),
        "alignment_decay": Key(0.99, "decay of that running mean, per step", low=0, below=1),
        "intra_modal_weight": Key(
            0.0,
            "weight of the contrast of captions with all hard negatives of a batch (CE-CLIP's IMC)",
            0,
        ),
        "intra_modal_positive": Key(
            True,
            "IMC has the positive of its paper; False: none, as in CE-CLIP's released code, where "
            "every caption is to match the first negative of the batch",
        ),
        "adaptive_beta": Key(
            4.0,
            "a hard negative's weight is ~ exp(beta * its cosine above the truth's); 0: equal",
        ),
        "adaptive_cap": Key(
            3.0, "highest weight of a hard negative, if the mean weight is 1", low=1
        ),
        "effective_floor": Key(
            0.3, "warn if the share of hard negatives that carry the weight is below this", 0, 1
        ),
        "as_released": Key(
            False,
            "as in the released code: MHN has no positives, the margin loss is divided by G * K, "
            "missing negatives are keys of the contrastive loss too",
        ),
    }
}
AHNPL = Component(make, KEYS, _check)
