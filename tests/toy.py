"""A model and a method that compile in a second, for tests of the program around them.

As a program it is `jaxvl train` with the toy registered: python tests/toy.py --config=... [flags].
Letters: G batch, L tokens, D width.
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxvl.types import Component, Method, Model

WIDTH, VOCABULARY = 8, 256
RULES = (
    (r"kernel$", P(None, "fsdp")),
    (r"embedding$", P("fsdp", None)),
    (r"(bias|temperature)$", P()),
)


def make_model(config):
    """Returns a Model that has parameters and nothing else."""

    def init(key):
        image_key, text_key = jax.random.split(key)
        return {
            "image": {
                "kernel": jax.random.normal(image_key, (3, WIDTH)),
                "bias": jnp.zeros((WIDTH,)),
            },
            "embedding": jax.random.normal(text_key, (VOCABULARY, WIDTH)),
            "temperature": jnp.asarray(config.model.temperature),
        }

    others = dict.fromkeys(set(Model._fields) - {"init", "partition_rules"})
    return Model(init=init, partition_rules=RULES, **others)


def make_method(config, model, *, steps_per_epoch):
    """Returns a Method with the state of a real one: a momentum encoder, a queue; and with noise."""

    def forward(params, slots, batch, *, step, key):
        color_Gx3 = batch["image"].astype(jnp.float32).mean(axis=(1, 2)) / 255
        zi_GxD = color_Gx3 @ params["image"]["kernel"] + params["image"]["bias"][None]
        zt_GxD = params["embedding"][batch["token_ids"]].mean(axis=1)
        noise_GxD = 0.1 * jax.random.normal(key, zt_GxD.shape)
        itc = ((zi_GxD - zt_GxD - noise_GxD) ** 2).mean() / params["temperature"]
        momentum = jax.tree.map(lambda m, p: 0.9 * m + 0.1 * p, slots["momentum"], params["image"])
        drift = ((zt_GxD - slots["queue"].mean(axis=0)[None]) ** 2).mean()
        loss = itc + drift
        place_G = jnp.arange(1.0, 1 + batch["example_id"].shape[0])
        metrics = {"loss/itc": itc, "loss/drift": drift}
        metrics["ids"] = (place_G * batch["example_id"]).sum()  # differs from batch to batch
        return loss, (metrics, {"momentum": momentum, "queue": jax.lax.stop_gradient(zt_GxD)})

    def init_slots(params):
        return {"momentum": params["image"], "queue": jnp.zeros((config.batch_size, WIDTH))}

    def project(params):
        return {**params, "temperature": jnp.clip(params["temperature"], 0.05, 0.5)}

    return Method(init_slots, forward, project, slot_rules=((r"queue$", P()),))


def register():
    """Adds the toy to the tables of models and methods."""
    from jaxvl.methods import METHODS
    from jaxvl.models import MODELS

    MODELS["toy"], METHODS["toy"] = Component(make_model), Component(make_method)


if __name__ == "__main__":
    from jaxvl.cli import train

    register()
    train.main()
