"""AdamW as the papers use it: linear warm-up, cosine decay, none on biases, norms and scalars."""

import jax
import optax

NO_DECAY = ("bias", "scale", "temperature")  # last word of a parameter's name: key_bias too


def make_schedule(optim, *, total_steps):
    """Returns step -> learning rate: linear over `warmup_steps`, then a cosine to `total_steps`."""
    warmup = optax.linear_schedule(
        optim.warmup_learning_rate, optim.learning_rate, optim.warmup_steps
    )
    cosine = optax.cosine_decay_schedule(
        optim.learning_rate,
        max(total_steps - optim.warmup_steps, 1),
        alpha=optim.final_learning_rate / optim.learning_rate,
    )
    return optax.join_schedules([warmup, cosine], [optim.warmup_steps])


def decay_mask(params):
    """Returns a tree of bools: which parameters weight decay pulls on, by their last name."""

    def decays(path, _):
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return name.split("_")[-1] not in NO_DECAY

    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(optim, *, total_steps):
    """Returns the optax transformation of config.optim; clipping, where asked for, comes first."""
    adamw = optax.adamw(
        make_schedule(optim, total_steps=total_steps),
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        mask=decay_mask,
    )
    if optim.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(optim.clip_norm), adamw)
    return adamw
