"""ALBEF (Li et al. 2021): contrast, matching and masked words, with momentum encoders and queues.

SoftMask is built from the same pieces: `encoders`, `contrast`, `matching`, `words`.
Letters: G batch, R rows.
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxvl.errors import require, require_model
from jaxvl.keys import Key
from jaxvl.losses import itm, make_contrast
from jaxvl.methods import contrast
from jaxvl.methods.context import Context
from jaxvl.methods.encoders import MOMENTUM_PARTS, encode_batch
from jaxvl.methods.matching import (
    Pairs,
    adapt_hardness,
    draw_negatives,
    first_hardness,
    fuse_together,
    hardness_of,
    matching_accuracy,
    matching_loss,
)
from jaxvl.methods.words import words_loss
from jaxvl.ops.rng import stream
from jaxvl.types import Batch, Component, Method, Metrics, Model, Params, Slots

SLOT_RULES = ((r"queue/", P()), (r"hardness$", P()))


def make(config: ConfigDict, model: Model, *, steps_per_epoch: int) -> Method:
    """Returns the Method; `steps_per_epoch` is the unit of momentum.distill_ramp_epochs."""
    contrast_rows = make_contrast(config)

    def forward(params: Params, slots: Slots, batch: Batch, *, step: jax.Array, key: jax.Array):
        context = Context(config, model, params, batch, step, key)
        mask = batch["token_mask"]
        encoded = encode_batch(
            context, slots["twins"], steps_per_epoch=steps_per_epoch, corrupt_all=False
        )
        online = encoded.online
        itc, similarity = contrast.contrast(context, contrast_rows, slots["queue"], encoded)
        image_keys = model.image_keys(params, online.v_GxNxD)
        true = Pairs(image_keys, online.t_GxLxD, mask)
        (positive,) = fuse_together(
            model, params, [true], stream(key, "positive"), first_only=False
        )
        negatives = draw_negatives(
            context, online, image_keys, similarity, hardness=hardness_of(config, slots)
        )
        masked = Pairs(image_keys, online.words_GxLxD, mask)
        *negative, words = fuse_together(
            model, params, [*negatives.pairs, masked], stream(key, "negative"), first_only=False
        )
        match_logits = (
            model.match_logits(params, positive),
            model.match_logits(params, jnp.concatenate(negative)),
            negatives.weight_R,
        )
        losses = {
            "itc": itc,
            "itm": matching_loss(*match_logits),
            "mlm": words_loss(context, encoded, words),
        }
        accuracy = matching_accuracy(*match_logits)
        hardness, more = adapt_hardness(config, slots, accuracy)
        metrics = report(losses, params) | {"itm/accuracy": accuracy, **more}
        queue = contrast.enqueue(slots["queue"], encoded.momentum, contrast.ids_of(config, batch))
        slots = {"twins": encoded.momentum_params, "queue": queue, **hardness}
        return total(losses, config), (metrics, slots)

    return Method(
        init_slots=lambda params: init_slots(config, params),
        forward=forward,
        project=lambda params: clip_temperature(config, params),
        slot_rules=SLOT_RULES,
    )


def init_slots(config: ConfigDict, params: Params) -> Slots:
    """Returns momentum encoders that are equal to the parameters, and queues without features.

    The momentum encoders' slot is called "twins" in checkpoints.
    """
    return {
        "twins": {name: params[name] for name in MOMENTUM_PARTS},
        "queue": contrast.empty_queue(config.momentum.queue_size, config.model.embed_size),
        **first_hardness(config),
    }


def total(losses: Metrics, config: ConfigDict) -> jax.Array:
    """Returns the weighted sum of ALBEF's three losses."""
    weights = config.loss
    contrast_and_matching = weights.itc_weight * losses["itc"] + weights.itm_weight * losses["itm"]
    return contrast_and_matching + weights.mlm_weight * losses["mlm"]


def clip_temperature(config: ConfigDict, params: Params) -> Params:
    """Returns the parameters with the temperature inside model.temperature_range."""
    low, high = config.model.temperature_range
    return {**params, "temperature": jnp.clip(params["temperature"], low, high)}


def report(losses: Metrics, params: Params) -> Metrics:
    """Returns the metrics that every method of this model logs."""
    logged = {f"loss/{name}": value for name, value in losses.items()}
    return {**logged, "temperature": params["temperature"]}


def check(config: ConfigDict) -> None:
    """Raises UserError naming a key with which no method of this model can work."""
    require_model(config, "albef")
    require(
        config.momentum.queue_size % config.batch_size == 0,
        f"momentum.queue_size={config.momentum.queue_size} is not divisible by "
        f"batch_size={config.batch_size}",
    )
    blocks = itm.blocks_of(config.batch_size, config.loss.itm_negative_blocks)
    require(
        config.batch_size % blocks == 0,
        f"batch_size={config.batch_size} is not divisible by "
        f"loss.itm_negative_blocks={config.loss.itm_negative_blocks}",
    )
    low, high = config.loss.itm_auto_band
    require(low <= high, f"loss.itm_auto_band={(low, high)} is not a pair (lowest, highest)")
    require(
        config.loss.itm_hardness <= 1 or not config.loss.itm_auto_hardness,
        f"loss.itm_hardness={config.loss.itm_hardness} must be at most 1 with "
        "loss.itm_auto_hardness",
    )


KEYS = {
    "momentum": {
        "decay": Key(0.995, "decay of the momentum encoders, per step", 0, 1),
        "queue_size": Key(
            65_536, "features of earlier batches that are contrastive keys; 0: none", low=0
        ),
        "distill": Key(0.4, "weight of the momentum encoders' predictions in the targets", 0, 1),
        "distill_ramp_epochs": Key(1.0, "epochs in which this weight grows from 0", low=0),
    },
    "loss": {
        "itc_weight": Key(1.0, "weight of the contrastive loss", low=0),
        "itm_weight": Key(1.0, "weight of image-text matching", low=0),
        "mlm_weight": Key(1.0, "weight of masked language modelling", low=0),
        "itm_negative_blocks": Key(
            0,
            "equal parts of the batch within which negatives for matching are drawn; 0: a power of "
            "two that leaves 64 to 127 pairs in each, as ALBEF has on a GPU, so that devices "
            "exchange no more in a larger batch; 1: from the whole batch",
            low=0,
        ),
        "itm_reuse_keys": Key(
            True,
            "take the cross-attention keys of a negative image from the batch, which is faster on "
            "one device; False: compute them again, with a twelfth of the traffic between devices",
        ),
        "itm_hardness": Key(
            1.0,
            "negatives for matching are drawn from the softmax of this times the similarities: "
            "1 is ALBEF's draw, with 0 all are equally likely; from scratch, matching is not "
            "learned with 1",
            low=0,
        ),
        "itm_auto_hardness": Key(
            False, "move the hardness so that the accuracy of matching stays in `itm_auto_band`"
        ),
        "itm_auto_band": Key(
            (0.75, 0.85),
            "lowest and highest accuracy of matching; a constant answer has 0.67",
            0,
            1,
        ),
        "itm_auto_rate": Key(
            0.1, "change of the hardness per step and unit of distance from the band", low=0
        ),
        "mask_probability": Key(
            0.15, "share of the word tokens that masked language modelling hides", 0, 1
        ),
    },
}
ALBEF = Component(make, KEYS, check)
