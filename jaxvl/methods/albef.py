"""ALBEF (Li et al. 2021): contrast, matching and masked words, with momentum twins and queues.

The pieces are functions of their own, since SoftMask is made of the same ones.
Letters: G batch, Q queue, M = G + Q keys, N image tokens, L text tokens, E embedding, P texts
beside a picture in one pass, R rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxvl.errors import require, require_model
from jaxvl.keys import Key
from jaxvl.losses import contrastive, itm, make_contrast, mlm
from jaxvl.models import bert
from jaxvl.models.albef import MATCH
from jaxvl.ops.rng import stream
from jaxvl.types import Component, Method

TWINS = ("image", "text", "fusion", "word_head", "image_projection", "text_projection")
SLOT_RULES = ((r"queue/", P()),)


class Encoded(NamedTuple):
    """Both towers' outputs for a batch: of its texts, and of its corrupted texts if they differ."""

    v_GxNxD: jax.Array
    t_GxLxD: jax.Array
    words_GxLxD: jax.Array
    zi_GxE: jax.Array
    zt_GxE: jax.Array


class Pairs(NamedTuple):
    """Picture-text pairs for the fusion encoder; `keep_GxN` None attenuates nothing."""

    image_keys: bert.ImageKeys
    t_GxLxD: jax.Array
    mask_GxL: jax.Array
    keep_GxN: jax.Array | None


def make(config, model, *, steps_per_epoch):
    """Returns the Method; `steps_per_epoch` is the length of the ramp's unit."""
    contrast_rows = make_contrast(config)

    def forward(params, slots, batch, *, step, key):
        mask = batch["token_mask"]
        twins = update_twins(slots["twins"], params, decay=config.momentum.decay)
        distill = distill_weight(config, step, steps_per_epoch)
        corrupted = corrupt_words(config, batch, key)
        texts = (batch["token_ids"], corrupted.ids_GxL)

        online = encode(model, params, batch, texts, key=stream(key, "online"))
        twin = encode(model, twins, batch, texts, key=stream(key, "twin"))
        contrast, similarity = contrast_batch(
            contrast_rows, params, slots["queue"], online, twin, batch["image_id"], distill
        )
        image_keys = model.image_keys(params, online.v_GxNxD)
        (positive,) = fuse_together(
            model,
            params,
            [Pairs(image_keys, online.t_GxLxD, mask, None)],
            stream(key, "positive"),
            first_only=False,
        )
        wrong, weight_R = draw_pairs(
            config, model, params, online, image_keys, batch, similarity, key
        )
        masked = Pairs(image_keys, online.words_GxLxD, mask, None)
        *negative, words = fuse_together(
            model, params, [*wrong, masked], stream(key, "negative"), first_only=False
        )

        positive_Gx2 = model.match_logits(params, positive)
        negative_Rx2 = model.match_logits(params, jnp.concatenate(negative))
        twin_logits = twin_words(config, model, twins, twin, mask, key)
        words = (model.word_logits(params, words), twin_logits)
        losses = {
            "itc": contrast,
            "itm": matching_loss(positive_Gx2, negative_Rx2, weight_R),
            "mlm": words_mean(words, batch["token_ids"], corrupted.hidden_GxL, distill),
        }
        metrics = report(losses, params, positive_Gx2, negative_Rx2, weight_R)
        slots = {"twins": twins, "queue": enqueue(slots["queue"], twin, batch["image_id"])}
        return total(losses, config), (metrics, slots)

    return Method(
        init_slots=lambda params: init_slots(config, params),
        forward=forward,
        project=lambda params: clip_temperature(config, params),
        slot_rules=SLOT_RULES,
    )


def init_slots(config, params):
    """Returns the twins, equal to the parameters, and queues that are empty (None: no queue)."""
    size, embed = config.momentum.queue_size, config.model.embed_size
    queue = {
        "image": jnp.zeros((size, embed)),
        "text": jnp.zeros((size, embed)),
        "image_id": jnp.full((size,), -1, jnp.int32),  # -1: not filled yet
        "position": jnp.zeros((), jnp.int32),
    }
    return {
        "twins": {name: params[name] for name in TWINS},
        "queue": queue if size else None,
    }


def update_twins(twins, params, *, decay):
    """Returns the twins after one EMA step towards the parameters; no gradient flows."""
    online = lax.stop_gradient({name: params[name] for name in TWINS})
    return jax.tree.map(lambda twin, new: decay * twin + (1 - decay) * new, twins, online)


def distill_weight(config, step, steps_per_epoch):
    """Returns the twins' share in the targets: a linear ramp from 0 over the first epochs."""
    ramp_steps = config.momentum.distill_ramp_epochs * steps_per_epoch
    return config.momentum.distill * jnp.minimum(1.0, step / max(ramp_steps, 1))


def corrupt_words(config, batch, key):
    """Returns mlm.Corrupted of the batch: the same draw wherever it is used in a step."""
    return mlm.corrupt(
        stream(key, "mlm"),
        batch["token_ids"],
        batch["word_ids"] >= 0,
        probability=config.loss.mask_probability,
        mask_token=config.model.text.mask_token,
        vocabulary_size=config.model.text.vocabulary_size,
    )


def encode(model, params, batch, texts, *, key):
    """Returns Encoded: the pictures, and the texts in one call: (ids,) or (ids, corrupted ids)."""
    rows = batch["image"].shape[0]
    ids_RxL = jnp.concatenate(texts)
    mask_RxL = jnp.concatenate([batch["token_mask"]] * len(texts))
    v = model.encode_image(params, batch["image"])
    t = model.encode_text(params, ids_RxL, mask_RxL, key=key)
    zi, zt = model.project_image(params, v), model.project_text(params, t[:rows], texts[0])
    return Encoded(v, t[:rows], t[-rows:], zi, zt)


def contrast_batch(
    contrast_rows,
    params,
    queue,
    online,
    twin,
    image_id_G,
    distill,
    *,
    gamma=0,
    focal_on="all",
    false_texts=None,
):
    """Returns (the mean ITC loss of both directions, image-to-text logits within the batch).

    Keys are the twins' features of the batch and the queues; the logits [G, G] and their
    transpose's counterpart guide the draw of hard negatives. contrast_rows: of make_contrast.
    gamma, focal_on: of contrastive.itc. false_texts: contrastive.Keys that belong to no picture,
    for the pictures.
    """
    if queue is None:
        queue = {"image": twin.zi_GxE[:0], "text": twin.zt_GxE[:0], "image_id": image_id_G[:0]}
    key_ids_M = jnp.concatenate([image_id_G, queue["image_id"]])
    scale = 1 / params["temperature"]

    def direction(z_GxE, twin_z_GxE, twin_keys_GxE, queued_QxE, false=None):
        z_MxE = jnp.concatenate([twin_keys_GxE, queued_QxE])
        keys = contrastive.Keys(z_MxE, key_ids_M, key_ids_M >= 0)
        if false is not None:
            keys = contrastive.Keys(*(jnp.concatenate(both) for both in zip(keys, false)))
        loss_G = contrast_rows(
            params,
            z_GxE,
            image_id_G,
            lax.stop_gradient(keys),
            scale,
            twin=contrastive.Twin(twin_z_GxE, distill),
            gamma=gamma,
            focal_on=focal_on,
        )
        return loss_G.mean(), scale * (z_GxE @ twin_keys_GxE.T)

    to_text, logits_i2t = direction(
        online.zi_GxE, twin.zi_GxE, twin.zt_GxE, queue["text"], false_texts
    )
    to_image, logits_t2i = direction(online.zt_GxE, twin.zt_GxE, twin.zi_GxE, queue["image"])
    return (to_text + to_image) / 2, (logits_i2t, logits_t2i)


def draw_pairs(config, model, params, online, image_keys, batch, similarity, key):
    """Returns the hard negatives, [Pairs, Pairs]: each picture with a wrong text, each text with a
    wrong picture; and their weights [2G]: 0 where there was nothing to draw."""
    blocks = config.loss.itm_negative_blocks
    same_GxG = batch["image_id"][:, None] == batch["image_id"][None, :]
    logits_i2t, logits_t2i = lax.stop_gradient(similarity)

    def draw(name, logits):
        return itm.draw_negatives(stream(key, name), logits, same_GxG, blocks=blocks)

    def take(x, index_G):
        return itm.take_rows(x, index_G, blocks=blocks)

    text_G, text_found_G = draw("itm_text", logits_i2t)
    image_G, image_found_G = draw("itm_image", logits_t2i)
    mask = batch["token_mask"]
    wrong_text = Pairs(image_keys, take(online.t_GxLxD, text_G), take(mask, text_G), None)
    if config.loss.itm_reuse_keys:
        wrong_keys = jax.tree.map(jax.vmap(lambda x: take(x, image_G)), image_keys)
    else:
        wrong_keys = model.image_keys(params, take(online.v_GxNxD, image_G))
    wrong_image = Pairs(wrong_keys, online.t_GxLxD, mask, None)
    weight_R = jnp.concatenate([text_found_G, image_found_G]).astype(jnp.float32)
    return [wrong_text, wrong_image], weight_R


def fuse_together(model, params, pairs, key, *, first_only):
    """Returns the fused states of each of several Pairs, from one pass: one program to compile.

    first_only: of the first token alone, [G, 1, D], which is all that matching reads.
    """
    sets = {id(one.image_keys): one.image_keys for one in pairs}
    parts = tuple(list(sets).index(id(one.image_keys)) for one in pairs)
    keep = None
    if any(one.keep_GxN is not None for one in pairs):
        keep = bert.beside([_keep(one) for one in pairs])
    states, _ = model.fuse(
        params,
        bert.Shared(tuple(sets.values()), parts),
        bert.beside([one.t_GxLxD for one in pairs]),
        bert.beside([one.mask_GxL for one in pairs]),
        key=key,
        keep_GxN=keep,
        probe=None,
        layer=None,
        first_only=first_only,
    )
    states_GxPxLxD = states.reshape(-1, len(pairs), *states.shape[1:])
    return [states_GxPxLxD[:, part] for part in range(len(pairs))]


def _keep(pairs):
    if pairs.keep_GxN is not None:
        return pairs.keep_GxN
    return jnp.ones((pairs.t_GxLxD.shape[0], pairs.image_keys.keys.shape[2]))


def twin_words(config, model, twins, twin, mask_GxL, key):
    """Returns the twins' logits of the masked words; None where nothing is distilled."""
    if config.momentum.distill == 0:
        return None
    pairs = Pairs(model.image_keys(twins, twin.v_GxNxD), twin.words_GxLxD, mask_GxL, None)
    (states,) = fuse_together(model, twins, [pairs], stream(key, "twin_words"), first_only=False)
    return model.word_logits(twins, states)


def matching_loss(positive_Gx2, negative_Rx2, weight_R):
    """Returns the mean cross-entropy over positives and those negatives that exist."""
    values = [itm.cross_entropy(positive_Gx2, MATCH), itm.cross_entropy(negative_Rx2, 1 - MATCH)]
    weights = jnp.concatenate([jnp.ones(positive_Gx2.shape[0]), weight_R])
    return mlm.masked_mean(jnp.concatenate(values), weights)


def words_mean(logits, ids_GxL, hidden_GxL, distill):
    """Returns the mean masked-word loss over the hidden tokens; logits = (online, twin)."""
    online, twin = logits
    values = mlm.masked_words(online, ids_GxL, lax.stop_gradient(twin), distill=distill)
    return mlm.masked_mean(values, hidden_GxL)


def total(losses, config):
    """Returns the weighted sum of the losses that every method has."""
    return sum(config.loss[f"{name}_weight"] * losses[name] for name in ("itc", "itm", "mlm"))


def enqueue(queue, twin, image_id_G):
    """Returns the queues with the twins' features of this batch in place of the oldest."""
    if queue is None:
        return None
    size, rows = queue["image_id"].shape[0], image_id_G.shape[0]

    def put(buffer, new):
        return lax.dynamic_update_slice_in_dim(
            buffer, lax.stop_gradient(new), queue["position"], axis=0
        )

    return {
        "image": put(queue["image"], twin.zi_GxE),
        "text": put(queue["text"], twin.zt_GxE),
        "image_id": put(queue["image_id"], image_id_G),
        "position": (queue["position"] + rows) % size,
    }


def clip_temperature(config, params):
    """Returns the parameters with the temperature inside its range."""
    low, high = config.model.temperature_range
    return {**params, "temperature": jnp.clip(params["temperature"], low, high)}


def report(losses, params, positive_Gx2, negative_Rx2, weight_R):
    """Returns the metrics of a step."""
    return {
        **{f"loss/{name}": value for name, value in losses.items()},
        "itm/accuracy": matching_accuracy(positive_Gx2, negative_Rx2, weight_R),
        "temperature": params["temperature"],
    }


def matching_accuracy(positive_Gx2, negative_Rx2, weight_R):
    """Returns the share of pairs, of those that exist, that matching gets right."""
    right_G = (positive_Gx2.argmax(-1) == MATCH).astype(jnp.float32)
    wrong_R = (negative_Rx2.argmax(-1) != MATCH).astype(jnp.float32)
    weights = jnp.concatenate([jnp.ones_like(right_G), weight_R])
    return mlm.masked_mean(jnp.concatenate([right_G, wrong_R]), weights)


def check(config):
    """Raises UserError naming a key with which no method of this model can work."""
    require_model(config, "albef")
    require(
        config.momentum.queue_size % config.batch_size == 0,
        f"momentum.queue_size={config.momentum.queue_size} is not divided by "
        f"batch_size={config.batch_size}",
    )
    require(
        config.batch_size % config.loss.itm_negative_blocks == 0,
        f"loss.itm_negative_blocks={config.loss.itm_negative_blocks} does not divide "
        f"batch_size={config.batch_size}",
    )


KEYS = {
    "momentum": {
        "decay": Key(0.995, "of the momentum encoders, a step", 0, 1),
        "queue_size": Key(
            65_536, "features of earlier batches as contrastive keys; 0: none", low=0
        ),
        "distill": Key(0.4, "weight of the momentum encoders' predictions in the targets", 0, 1),
        "distill_ramp_epochs": Key(1.0, "epochs over which that weight grows from 0", low=0),
    },
    "loss": {
        "itc_weight": Key(1.0, "of the contrastive loss", low=0),
        "itm_weight": Key(1.0, "of image-text matching", low=0),
        "mlm_weight": Key(1.0, "of masked language modelling", low=0),
        "itm_negative_blocks": Key(
            1,
            "equal parts of the batch within which hard negatives are drawn; with one a device or "
            "more, no image's tokens go from one device to another for it",
            low=1,
        ),
        "itm_reuse_keys": Key(
            True,
            "negative images reuse the cross-attention keys of the batch: faster on one device; "
            "False: their tokens travel instead, a twelfth of the traffic between devices",
        ),
        "mask_probability": Key(0.15, "share of tokens that masked language modelling hides", 0, 1),
    },
}
ALBEF = Component(make, KEYS, check)
